"""Reads the API key of the service from a file, as editors and shells write it; the key is in no message."""

import codecs
from pathlib import Path

from sentiment_ray.errors import ConfigError

MAX_BYTES = 1 << 16
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
