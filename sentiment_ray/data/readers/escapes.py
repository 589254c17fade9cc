"""Rewrites lines whose quotes or separators have an escape before them, so that the csv module reads them."""

import re
from collections.abc import Iterable, Iterator


def double_escaped_quotes(lines: Iterable[str], *, separator: str, quote: str, escape: str) -> Iterator[str]:
    """Yield the lines with each escaped quote inside a quoted cell as a doubled quote, and an escaped escape as one.

    As Spark writes it, an escape has a meaning inside a quoted cell alone, before a quote or another escape. The first
    line begins outside a quoted cell.
    """
    inner = re.compile(rf"(?:[^{re.escape(quote + escape)}]|{re.escape(escape)}.?|{re.escape(quote * 2)})*", re.DOTALL)
    escaped = re.compile(rf"{re.escape(escape)}([{re.escape(quote + escape)}])")
    is_inside = False
    for line in lines:
        if escape not in line and not is_inside and line.count(quote) % 2 == 0:
            yield line
            continue
        parts, position = [], 0
        while position < len(line):
            if is_inside:
                found = inner.match(line, position)[0]  # type: ignore[index]
                parts.append(escaped.sub(lambda match: quote * 2 if match[1] == quote else escape, found))
                position += len(found)
                is_inside = position == len(line)
            elif line[position] == quote and (position == 0 or line[position - 1] == separator):
                parts.append(quote)
                position += 1
                is_inside = True
            if not is_inside:
                end = line.find(separator, position) + 1 or len(line)
                parts.append(line[position:end])
                position = end
        yield "".join(parts)


def keep_other_escapes(lines: Iterable[str], *, separator: str, escape: str) -> Iterator[str]:
    """Yield lines without quotes with each escape doubled that is part of a cell, since a letter follows it.

    The csv module drops a single escape before any character.
    """
    pattern = re.compile(re.escape(escape) + "(.?)", re.DOTALL)
    special = (separator, escape)
    for line in lines:
        yield pattern.sub(lambda found: found[0] if found[1] in special else escape + found[0], line)
