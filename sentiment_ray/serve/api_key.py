"""The API keys of the service: reads them from files, as editors and shells write them; a key is in no message."""

import codecs
import hmac
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from sentiment_ray.errors import ConfigError

MAX_BYTES = 1 << 16
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class ApiKeys:
    """The keys that open the service, as hashes. Without a key it is open to all."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Return whether a header `Authorization: Bearer KEY` has one of the keys.

        `authorization` has one letter for each byte of the header. Every key is compared, each in constant time.
        """
        if not self._digests:
            return True
        scheme, _, given = authorization.partition(" ")
        digest = sha256(given.encode("latin-1")).digest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches) and scheme.lower() == "bearer"


def read_api_keys(files: Iterable[str]) -> ApiKeys:
    """Return the keys in the first lines of some files; see `read_api_key` for the errors."""
    return ApiKeys(read_api_key(file) for file in files)


def read_api_key(file: str) -> str:
    """Return the first line of a UTF-8 file, without a byte order mark and without white space around it.

    ConfigError when the file cannot be read, is in another encoding, or when its first line cannot be a key.
    """
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_BYTES)
        if data.startswith(UTF16_MARKS) or b"\0" in data:
            raise _refuse(file, "is UTF-16, as PowerShell and Notepad may write it. Save it as UTF-8")
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise _refuse(file, f"cannot be read ({error.strerror}). Name a file with the key in its first line") from None
    except UnicodeDecodeError as error:
        raise _refuse(file, f"is not UTF-8 (byte {error.start}). Save it as UTF-8") from None
    key = lines[0].strip() if lines else ""
    if not key:
        raise _refuse(file, "has an empty first line. Write the key there")
    invisible = next((letter for letter in key if not letter.isprintable()), None)
    if invisible:
        raise _refuse(file, f"has an invisible character in its first line (U+{ord(invisible):04X}). Remove it")
    return key


def _refuse(file: str, fault: str) -> ConfigError:
    return ConfigError(f"api_key_file = {file!r} {fault}.")
