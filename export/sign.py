"""Signs a finished bundle: writes model.sig into its directory. Needs the extra `sign`."""

import os
import uuid
from pathlib import Path

from sentiment_ray.bundle.manifest import SIGNATURE_NAME
from sentiment_ray.bundle.open import verify_bundle
from sentiment_ray.bundle.signature import Signer, sign


def sign_bundle(directory: Path, signer: Signer) -> None:
    """Check every byte of a bundle and write its signature in one step, replacing an earlier one."""
    signature = sign(verify_bundle(directory).hashes(), signer)
    # Beside the directory, not in it: a bundle with an unfinished file in it could not be opened.
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.sig")
    try:
        with temporary.open("wb") as file:
            file.write(signature)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / SIGNATURE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
