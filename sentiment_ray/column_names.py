"""Finds a column by its name, and says what a file has instead of a missing one; reads no file."""

import difflib
from collections.abc import Collection, Iterable
from itertools import islice

INVISIBLE = "\ufeff\u200b\u200e\u2060"
"""Byte order mark, zero-width space, direction mark and word joiner: `str.strip` does not remove them."""
MAX_NAMES_SHOWN = 20


def resolve_column(name: str, found: Collection[str]) -> str | None:
    """Return the column that a name means, or None if no column is meant.

    It is the column with exactly this name. If there is none, it is the only column that has the name with white space
    around it, as in the header `id, text, label`.
    """
    if name in found:
        return name
    padded = _list_padded(name, found)
    return padded[0] if len(padded) == 1 else None


def describe_missing_column(name: str, found: Collection[str]) -> str:
    """Return `the column 'text' is missing (found: 'id', 'Text'). Did you mean 'Text'?`, to follow a file's name."""
    return f"the column {name!r} is missing (found: {quote_names(found)}).{_suggest_column(name, found)}"


def quote_names(names: Iterable[str]) -> str:
    """Return names between commas, each in quotes, so that blanks are seen; of more than MAX_NAMES_SHOWN, the first."""
    names = iter(names)
    shown = ", ".join(repr(name) for name in islice(names, MAX_NAMES_SHOWN))
    return f"{shown}, ..." if next(names, None) is not None else shown or "none"


def _suggest_column(name: str, found: Collection[str]) -> str:
    """Return a sentence that begins with a blank, or nothing if no column is like the missing one."""
    padded = _list_padded(name, found)
    if padded:
        return f" Several names differ from it by blanks alone: {quote_names(padded)}. Rename all but one of them."
    with_comma = [column for column in found if "," in column and name in map(strip_blanks, column.split(","))]
    if with_comma:
        quoted = with_comma[0].replace('"', '""')
        return f" A name with a comma is written in double quotes inside the flag's value: '\"{quoted}\"'."
    plain = {strip_blanks(column).casefold(): column for column in found}
    close = difflib.get_close_matches(strip_blanks(name).casefold(), list(plain), n=1, cutoff=0.8)
    return f" Did you mean {plain[close[0]]!r}?" if close else ""


def _list_padded(name: str, found: Collection[str]) -> list[str]:
    return [column for column in found if strip_blanks(column) == strip_blanks(name)]


def strip_blanks(name: str) -> str:
    """Return the name, or a label, without white space and invisible characters around it."""
    return name.strip().strip(INVISIBLE).strip()
