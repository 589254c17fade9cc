"""Signs a finished bundle: writes model.sig into its directory. Needs the extra `sign`."""

from pathlib import Path

from sentiment_ray.atomic_files import name_beside, place_file
from sentiment_ray.bundle.manifest import SIGNATURE_NAME
from sentiment_ray.bundle.open import verify_bundle
from sentiment_ray.bundle.signature import Signer, sign


def sign_bundle(directory: Path, signer: Signer) -> None:
    """Check every byte of a bundle and write its signature in one step, replacing an earlier one."""
    signature = sign(verify_bundle(directory).hashes(), signer)
    # Beside the directory, not in it: a bundle with an unfinished file in it could not be opened.
    temporary = name_beside(directory, "sig")
    try:
        temporary.write_bytes(signature)
        place_file(temporary, directory / SIGNATURE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
