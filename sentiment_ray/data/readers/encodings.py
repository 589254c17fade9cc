"""Checks the name of an encoding, and recognises the encoding of bytes that are not UTF-8; opens no file."""

import codecs
import io

from sentiment_ray.errors import DataError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""Byte order marks of UTF-16 and UTF-32. The longer ones come first, since one begins with another."""
LIKELY_ENCODINGS = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp932", "gb18030", "big5",
    "euc_jp", "cp949", "koi8_r", "mac_roman",
]  # fmt: skip
"""What spreadsheets and older programs write, out of the many encodings that could be meant."""


def check_encoding(name: str) -> str:
    """Return the name of an encoding as Python spells it; ValueError if it is not the encoding of a text."""
    try:
        with io.TextIOWrapper(io.BytesIO("a,b\n".encode(name)), encoding=name) as file:
            if file.read() != "a,b\n":
                raise LookupError
    except (LookupError, UnicodeError, TypeError):
        raise ValueError(
            "this is not an encoding that can be read. Examples: cp1252, latin-1, utf-16, shift_jis, gb18030."
        ) from None
    return codecs.lookup(name).name


def get_error_handler(encoding: str | None) -> str:
    """Return how Python keeps what is not in the encoding: as lone surrogates, so that the row can be set aside."""
    return "surrogatepass" if encoding and encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def check_marks(path: object, start: bytes, encoding: str | None) -> None:
    """Raise DataError if the first bytes of a file name another encoding than the one that it is read in."""
    found = find_marked_encoding(start)
    if found and not (encoding or "").startswith(found):
        raise DataError(
            f'{path} is in {found.upper()}. Pass --encoding {found}, or set encoding = "{found}" for its source.'
        )
    if encoding and start.startswith(codecs.BOM_UTF8) and not encoding.startswith("utf-8"):
        raise DataError(
            f"{path} begins with the byte order mark of UTF-8, but encoding is {encoding!r}. Leave encoding out, or "
            "give the file a source of its own."
        )


def find_marked_encoding(start: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 that the first bytes of a file show, by a byte order mark or by zero bytes."""
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    line = start[:200]
    even, odd = line[::2].count(0), line[1::2].count(0)
    if min(even, odd) * 3 < max(even, odd) and max(even, odd) * 3 > len(line):  # ASCII letters have one zero byte each
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def guess_encoding(data: bytes) -> str | None:
    """Return the most likely encoding of text that is not UTF-8, or None if it is no text in a usual encoding.

    A short text is often clean in several encodings. Then cp1252 is named, which Excel writes in most countries.
    """
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_isolation=LIKELY_ENCODINGS)
    best = matches.best()
    if best is None:
        return None
    as_clean = {name for match in matches if match.chaos <= best.chaos for name in match.could_be_from_charset}
    return "cp1252" if "cp1252" in as_clean else best.encoding
