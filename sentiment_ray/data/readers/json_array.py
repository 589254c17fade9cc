"""Reads the values of a JSON array one by one in bounded memory; knows no rows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sentiment_ray.data.readers.text_lines import BUFFER_BYTES, MAX_LINE_BYTES
from sentiment_ray.errors import DataError

ARRAY_OF_OBJECTS = re.compile(r"\s*\[\s*(\{|\]\s*$)")
BLANKS = re.compile(r"\s*")
GOES_ON = ("", *"0123456789.eE+-")
"""What may follow the beginning of a number; empty at the end of the text in memory."""


def read_array(file: IO[str], path: Path) -> Iterator[Any]:
    """Yield the values of an array, or of several arrays one after another.

    At most MAX_LINE_BYTES characters are held. DataError if a value is longer, if the file is not JSON, or if it ends
    inside the array.
    """
    buffer, position, number = "", 0, 0
    expected = "["  # or "value or ]", "value", ", or ]"
    while True:
        position = BLANKS.match(buffer, position).end()  # type: ignore[union-attr]
        if position == len(buffer):
            buffer, position = file.read(BUFFER_BYTES), 0
            if not buffer and expected == "[":
                return
            if not buffer:
                raise DataError(f"{path} ends inside its JSON array, after {number} values. Restore the file.")
            continue
        letter = buffer[position]
        if "value" in expected and letter != "]":
            number += 1
            try:
                value, buffer, position = _read_value(file, buffer, position)
            except ValueError as error:
                raise DataError(
                    f"{path}: value {number} of its JSON array cannot be read ({error}). Correct or restore the file."
                ) from None
            yield value
            expected = ", or ]"
        elif letter in expected.split():
            expected = {"[": "value or ]", ",": "value", "]": "["}[letter]
            position += 1
        else:
            raise DataError(
                f"{path}: in its JSON array, after {number} values, {letter!r} stands where {expected} is expected. "
                "Correct the file."
            )


def _read_value(file: IO[str], buffer: str, position: int) -> tuple[Any, str, int]:
    """Return the value at a position, and the text that is in memory then with the position after the value.

    ValueError if there is none within MAX_LINE_BYTES characters.
    """
    while True:
        value, end, fault = None, 0, "too deep"
        try:
            value, end = json.JSONDecoder().raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            fault = error.msg
        except (ValueError, RecursionError):
            pass
        if end and buffer[end : end + 1] not in GOES_ON:
            return value, buffer, end
        num_characters = len(buffer) - position
        more = file.read(max(BUFFER_BYTES, num_characters)) if num_characters < MAX_LINE_BYTES else ""
        if not more and end:
            return value, buffer, end
        if not more:
            raise ValueError(fault)
        buffer, position = buffer[position:] + more, 0
