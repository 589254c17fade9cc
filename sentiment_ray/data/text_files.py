"""Reads rows out of CSV, TSV, JSON Lines and chat files, plain or .gz; knows lines, not tables.

A byte of a CSV that is not UTF-8 becomes a lone surrogate, by which reading.py knows the row that it sets aside.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sentiment_ray.data.config import Source
from sentiment_ray.data.units import Row, Unit
from sentiment_ray.errors import DataError

SEPARATORS = {"csv": ",", "tsv": "\t"}
LONGEST_LINE_BYTES = 1 << 20
HEAD_LINES = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_separated(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV; one with stray quotes or other cells than its header is defective."""
    path = Path(unit.path)
    reader = csv.reader(_text_lines(path), delimiter=SEPARATORS[unit.format], strict=True)
    header = _header(reader, path)
    names = (source.id_column, source.text_column, source.label_column, source.key_column)
    places = [header.index(name) if name else None for name in names]
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(number, reason=f"not {unit.format.upper()}: {error}")
            continue
        if cells and len(cells) != len(header):
            yield Row(number, reason=f"{len(cells)} cells where the header has {len(header)}")
        elif cells:
            yield Row(number, *(None if place is None else cells[place] for place in places))


def read_objects(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file, one object a line."""
    for number, value, reason in _objects(Path(unit.path)):
        if value is None:
            yield Row(number, reason=reason)
        else:
            text, label = value.get(source.text_column), value.get(source.label_column)
            yield Row(number, _id_of(value, source), text, label, _key_of(value, source))


def read_chats(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a chat file: the user's message is the text, the assistant's the label."""
    for number, value, reason in _objects(Path(unit.path)):
        said = {} if value is None else _messages_by_role(value)
        if value is None:
            yield Row(number, reason=reason)
        elif isinstance(said, str):
            yield Row(number, reason=said)
        else:
            yield Row(number, _id_of(value, source), said["user"], said["assistant"], _key_of(value, source))


def columns_of_text_file(path: Path, file_format: str) -> list[str]:
    """Return the column names in a CSV's header, or the keys of the first objects in a JSON Lines or chat file.

    An empty list when the latter begins with no object at all; DataError when there is no header to read.
    """
    if file_format in SEPARATORS:
        return _header(csv.reader(_text_lines(path), delimiter=SEPARATORS[file_format], strict=True), path)
    heads = islice(_objects(path), HEAD_LINES)
    return list(dict.fromkeys(key for _, value, _ in heads if value is not None for key in value))


def _header(reader: Any, path: Path) -> list[str]:
    try:
        header: list[str] = next((cells for cells in reader if cells), [])
        "".join(header).encode()
    except csv.Error as error:
        raise DataError(f"{path}: its header cannot be read ({error}). Put the column names first.") from None
    except UnicodeEncodeError:
        raise DataError(f"{path}: its header is not UTF-8. Convert the file to UTF-8.") from None
    if not header:
        raise DataError(f"{path} is empty: its first line must hold the column names.")
    return header


def _id_of(value: dict[str, Any], source: Source) -> Any:
    return value.get(source.id_column) if source.id_column else None


def _key_of(value: dict[str, Any], source: Source) -> Any:
    return value.get(source.key_column) if source.key_column else None


def _messages_by_role(value: dict[str, Any]) -> dict[str, Any] | str:
    """Return each role's content, or the reason why this is not one question and one answer."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return "chat without a list of messages"
    said: dict[str, Any] = {}
    for message in messages:
        role = message.get("role")
        if role not in ("system", "user", "assistant") or "content" not in message:
            return "chat message without role or content"
        if role in said:
            return f"chat with several {role} messages"
        said[role] = message["content"]
    missing = [role for role in ("user", "assistant") if role not in said]
    return f"chat without {missing[0]} message" if missing else said


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Yield each line's number and JSON object, or the reason why it holds none; blank lines are no rows."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        value, reason = None, "not a JSON object"
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError:
            reason = "invalid UTF-8"
        except (ValueError, RecursionError):
            if len(line) == LONGEST_LINE_BYTES:
                reason = f"line longer than {LONGEST_LINE_BYTES} bytes"
        yield (number, value, None) if isinstance(value, dict) else (number, None, reason)


def _text_lines(path: Path) -> Iterator[str]:
    return (line.decode(errors="surrogateescape") for line in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines, of one longer than LONGEST_LINE_BYTES only its beginning, so that none fills the memory."""
    try:
        with _open(path) as file:
            if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
                file.seek(0)
            while line := file.readline(LONGEST_LINE_BYTES):
                yield line
                while len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read to its end ({error}). Restore the file, or leave it out.") from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
