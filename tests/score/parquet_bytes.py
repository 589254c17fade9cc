"""Writes valid Parquet files, and reads and edits their bytes without PyArrow; damages nothing itself."""

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

Variants = Iterator[tuple[str, bytes | Callable[[Path], object]]]
"""Labels, each with the bytes of a file or with a function that creates something else at the path."""


# Good tables and files

COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")
WORDS = ("the", "cherry", "pie", "was", "not", "very", "good", "and", "I", "would", "never", "buy", "this", "again")


def make_table(rng: random.Random, num_rows: int = 200, **columns: Any) -> pa.Table:
    """Return reviews; `columns` replace or add columns, and None removes one. `body` stays the last of the three."""
    found: dict[str, Any] = {
        "review_id": [f"r{rng.getrandbits(40):x}" for _ in range(num_rows)],
        "stars": [rng.randint(1, 5) for _ in range(num_rows)],
        "body": [" ".join(rng.choices(WORDS, k=rng.randint(3, 25))) for _ in range(num_rows)],
    }
    return pa.table({name: values for name, values in (found | columns).items() if values is not None})


def make_file(table: pa.Table, row_group_size: int = 50, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=row_group_size, **options)
    return sink.getvalue().to_pybytes()


def make_any_file(rng: random.Random, **options: Any) -> bytes:
    chosen = {"compression": rng.choice(COMPRESSIONS), "use_dictionary": rng.random() < 0.5}
    return make_file(make_table(rng), **chosen | {"data_page_version": rng.choice(["1.0", "2.0"])} | options)


def make_paged_file(rng: random.Random, num_rows: int, num_pages: int) -> bytes:
    """Return four row groups with this many pages a column; each text begins with the id of its row."""
    table, size = make_table(rng, num_rows), num_rows // 4 // num_pages
    table = table.set_column(BODY, "body", pc.binary_join_element_wise(table["review_id"], table["body"], " "))
    options: dict[str, Any] = {"max_rows_per_page": size, "write_batch_size": size, "compression": "zstd"}
    return make_file(table, num_rows // 4, use_dictionary=False, **options)


def unchecked_array(kind: pa.DataType, values: list[bytes]) -> pa.Array:
    """Return bytes as strings without checking that they are UTF-8."""
    plain = pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(kind, len(plain), plain.buffers())


def repeated_array(value: str, num_rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int32()), [value])


# Thrift's compact protocol: a struct is {field: [type, value]}, a list is [type, items]

TRUE, FALSE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 4, 5, 6, 7, 8, 9, 12


def from_thrift(stream: io.BytesIO, kind: int) -> Any:
    if kind in (TRUE, FALSE):
        return kind == TRUE
    if kind in (I16, I32, I64):
        number = from_varint(stream)
        return number >> 1 ^ -(number & 1)
    if kind == BINARY:
        return stream.read(from_varint(stream))
    if kind == LIST:
        head = stream.read(1)[0]
        size = head >> 4 if head >> 4 < 15 else from_varint(stream)
        return [head & 15, [from_thrift(stream, head & 15) for _ in range(size)]]
    if kind == STRUCT:
        fields: dict[int, list[Any]] = {}
        number = 0
        while head := stream.read(1)[0]:
            number = number + (head >> 4) if head >> 4 else from_thrift(stream, I16)
            fields[number] = [head & 15, from_thrift(stream, head & 15)]
        return fields
    return stream.read(8 if kind == DOUBLE else 1)


def from_varint(stream: io.BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte if byte < 128 else byte & 127 | from_varint(stream) << 7


def to_varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + to_varint(number >> 7)


def to_thrift(value: Any, kind: int = STRUCT) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind in (I16, I32, I64):
        return to_varint(value << 1 ^ value >> 63)
    if kind == BINARY:
        return to_varint(len(value)) + value
    if kind == LIST:
        of, items = value
        return bytes([0xF0 | of]) + to_varint(len(items)) + b"".join(to_thrift(item, of) for item in items)
    if kind == STRUCT:
        fields = (bytes([of]) + to_thrift(number, I16) + to_thrift(item, of) for number, (of, item) in value.items())
        return b"".join(fields) + b"\0"
    return bytes(value)


# Parquet's numbers of Thrift fields: of the file, a schema element, a row group, a column chunk and a page

MAGIC = b"PAR1"
INT_MAX, HUGE = 2**31 - 1, 2**62
NUMBERS = {"negative": -1, "zero": 0, "fewer": 37, "more": 1000, "many": INT_MAX, "huge": HUGE}
SCHEMA, NUM_ROWS, GROUPS, KEY_VALUES = 2, 3, 4, 5
TYPE, REPETITION, NAME, NUM_CHILDREN, CONVERTED = 1, 3, 4, 5, 6
COLUMNS, GROUP_ROWS, META = 1, 3, 3
ENCODINGS, PATH, CODEC, NUM_VALUES, PLAIN_SIZE, SIZE, DATA_AT, DICTIONARY_AT, STATISTICS = 2, 3, 4, 5, 6, 7, 9, 11, 12
PAGE_TYPE, PAGE_PLAIN_SIZE, PAGE_SIZE, CRC, PAGE_V1, DICTIONARY, PAGE_V2 = 1, 2, 3, 4, 5, 7, 8
BODY = 2
GROUP = (GROUPS, 0)
CHUNK = (*GROUP, COLUMNS, BODY, META)


def node_at(node: Any, path: tuple[int, ...]) -> Any:
    for step in path:
        node = node[step][1] if isinstance(node, dict) else node[1][step]
    return node


def edit_node(tree: Any, path: tuple[int, ...], value: int | bytes | list[Any] | None) -> None:
    """Set the field at `path`, or remove it when the value is None."""
    node, last = node_at(tree, path[:-1]), path[-1]
    if value is None:
        del node[last]
    else:
        node.setdefault(last, [BINARY if isinstance(value, bytes) else I32, None])[1] = value


def footer_offset(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def parse_footer(data: bytes) -> Any:
    return from_thrift(io.BytesIO(data[footer_offset(data) :]), STRUCT)


def seal(pages: bytes, footer: bytes, size: int | None = None) -> bytes:
    size = len(footer) if size is None else size % 2**32
    return pages + footer + size.to_bytes(4, "little") + MAGIC


def edit_footer(data: bytes, *edits: tuple[tuple[int, ...], Any]) -> bytes:
    footer = parse_footer(data)
    for path, value in edits:
        edit_node(footer, path, value)
    return seal(data[: footer_offset(data)], to_thrift(footer))


def pages_of(data: bytes) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Yield the offsets of header, body and end of each page, and its row group and column."""
    for group, row_group in enumerate(node_at(parse_footer(data), (GROUPS,))[1]):
        for column in range(len(node_at(row_group, (COLUMNS,))[1])):
            chunk = node_at(row_group, (COLUMNS, column, META))
            at = min(chunk[field][1] for field in (DATA_AT, DICTIONARY_AT) if field in chunk)
            end = at + chunk[SIZE][1]
            while at < end:
                stream = io.BytesIO(data)
                stream.seek(at)
                size = from_thrift(stream, STRUCT)[PAGE_SIZE][1]
                yield at, stream.tell(), stream.tell() + size, (group, column)
                at = stream.tell() + size


def edit_page(data: bytes, page: int, path: tuple[int, ...], value: Any) -> bytes:
    """Change the header of a page in the last column chunk, so that only the footer has to move."""
    footer, pages = parse_footer(data), list(pages_of(data))
    at, body, _, (group, column) = [found for found in pages if found[3] == pages[-1][3]][page]
    header = from_thrift(io.BytesIO(data[at:body]), STRUCT)
    edit_node(header, path, value)
    chunk = node_at(footer, (GROUPS, group, COLUMNS, column, META))
    longer = len(to_thrift(header)) - (body - at)
    chunk[SIZE][1] += longer
    if at < chunk[DATA_AT][1]:
        chunk[DATA_AT][1] += longer
    return seal(data[:at] + to_thrift(header) + data[body : footer_offset(data)], to_thrift(footer))


def multiply_pages(data: bytes, times: int) -> bytes:
    """Repeat every page of a file with one row group: the file grows by these bytes, and its rows multiply."""
    footer, pages = parse_footer(data), MAGIC
    for at, _, end, (_, column) in pages_of(data):
        chunk = node_at(footer, (*GROUP, COLUMNS, column, META))
        chunk[DATA_AT][1] = len(pages)
        for field in (NUM_VALUES, PLAIN_SIZE, SIZE):
            chunk[field][1] *= times
        pages += data[at:end] * times
    for path in ((NUM_ROWS,), (*GROUP, GROUP_ROWS)):
        edit_node(footer, path, node_at(footer, path) * times)
    return seal(pages, to_thrift(footer))
