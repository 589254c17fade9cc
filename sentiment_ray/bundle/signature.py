"""Signs the hashes of a bundle and checks such a signature, with OpenSSF model signing and an elliptic-curve key pair.

Works offline. Nothing imports this module unless a signature is asked for: it needs the extra `sign`.
"""

import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from sentiment_ray.bundle.files import HUB_FILES, parse_json
from sentiment_ray.bundle.manifest import MAX_MESSAGE_CHARACTERS, SIGNATURE_NAME
from sentiment_ray.errors import BundleError, ConfigError, require_extra

require_extra("sign", "model_signing", "OpenSSL")

from model_signing import hashing, manifest, signing, verifying  # noqa: E402
from model_signing._hashing.hashing import Digest  # noqa: E402

Signer: TypeAlias = signing.Config

MODEL_NAME = "bundle"
"""Stands in a signature for people to read; no check depends on it."""
HOW_TO_MAKE_KEYS = (
    "Make a pair with: openssl ecparam -name prime256v1 -genkey -noout -out key.pem && "
    "openssl ec -in key.pem -pubout -out key.pub"
)


def load_signer(key: str | Path) -> Signer:
    """Return a signer with the private key in a PEM file without a password. ConfigError when it cannot be read."""
    try:
        return signing.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, AttributeError):  # what the library raises for other files and keys
        raise ConfigError(
            f"sign_key = {str(key)!r} is not a readable private key of an elliptic curve (PEM, no password). "
            f"{HOW_TO_MAKE_KEYS}"
        ) from None


def sign(hashes: Mapping[str, str], signer: Signer) -> bytes:
    """Return a signature of files, given by name and sha256: the content of model.sig."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / SIGNATURE_NAME
        signer.set_hashing_config(_KnownHashes(hashes)).sign(directory, path)
        return path.read_bytes()


def check_signature(signature: bytes, hashes: Mapping[str, str], public_key: str | Path, *, source: Path) -> None:
    """Refuse a signature unless the owner of `public_key` signed exactly these files. BundleError names `source`.

    The hashes must be those of the bytes that are used afterwards: no file is opened here.
    """
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError, AttributeError):
        raise ConfigError(
            f"require_signature = {str(public_key)!r} is not a readable public key of an elliptic curve (PEM). "
            f"{HOW_TO_MAKE_KEYS}"
        ) from None
    parse_json(signature, source)
    with TemporaryDirectory() as directory, redirect_stdout(sys.stderr):  # the library prints warnings
        path = Path(directory) / SIGNATURE_NAME
        path.write_bytes(signature)
        try:
            verifier.set_hashing_config(_KnownHashes(hashes)).verify(directory, path)
        except Exception as error:  # a stranger's file makes the library raise nearly anything; none of it is a pass
            reason = str(error)[:MAX_MESSAGE_CHARACTERS] or type(error).__name__
            raise BundleError(
                f"{source} is not a signature of this bundle by {public_key} ({reason}). "
                "Do not use the bundle, or name the public key of its author."
            ) from None


class _KnownHashes(hashing.Config):  # type: ignore[misc]
    """Gives the library hashes that are known already, where it would read and hash the files itself."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        super().__init__()
        self._hashes = hashes

    def hash(
        self, model_path: str | bytes | PathLike[str], *, files_to_hash: Iterable[str | PathLike[str]] | None = None
    ) -> manifest.Manifest:
        """Return a manifest as the library makes it of a directory with these files."""
        ignored = [SIGNATURE_NAME, *HUB_FILES]
        arguments = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ignored}
        kind = manifest.SerializationType.from_args(arguments)
        items = [kind.new_item(name, Digest("sha256", bytes.fromhex(value))) for name, value in self._hashes.items()]
        return manifest.Manifest(MODEL_NAME, items, kind)
