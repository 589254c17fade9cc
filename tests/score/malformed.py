"""Writes malformed, hostile and odd Parquet files from a seed; knows the format's bytes and nothing of scoring."""

import gzip
import io
import itertools
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather, orc, parquet

Variants = Iterator[tuple[str, bytes | Callable[[Path], object]]]
"""Labels, each with a file's bytes or with what puts something else at the path."""


@dataclass(frozen=True)
class Case:
    """One file: `num_rows` is what a readable footer says of the whole file; `must_fail` when no row can be scored."""

    name: str
    path: Path
    kind: str
    num_rows: int | None
    must_fail: bool


def write_malformed(directory: Path, *, seed: int, count: int = 300) -> list[Case]:
    """Write `count` files, one of each kind in turn; the same seed gives the same bytes. 600 have every variant."""
    live = {kind: variants(random.Random(f"{seed} {kind}")) for kind, (variants, _) in KINDS.items()}
    cases: list[Case] = []
    for kind in itertools.islice(itertools.cycle(KINDS), count * len(KINDS)):
        for label, content in itertools.islice(live[kind], int(len(cases) < count)):
            path = directory / f"{kind}-{label}.parquet"
            content(path) if callable(content) else path.write_bytes(content)
            cases.append(Case(path.stem, path, kind, _promised_rows(path), KINDS[kind][1]))
    return cases


def _promised_rows(path: Path) -> int | None:
    if not path.is_file():
        return None  # a pipe would block whoever opens it
    with path.open("rb") as file:  # not by name: pyarrow refuses a name that is not UTF-8
        try:
            return int(parquet.read_metadata(file).num_rows)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            return None


# Good tables and files

COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")
WORDS = ("the", "cherry", "pie", "was", "not", "very", "good", "and", "I", "would", "never", "buy", "this", "again")


def _table(rng: random.Random, num_rows: int = 200, **columns: Any) -> pa.Table:
    """Return reviews; `columns` replace or add some, and None leaves one out. `body` stays behind the other two."""
    found: dict[str, Any] = {
        "review_id": [f"r{rng.getrandbits(40):x}" for _ in range(num_rows)],
        "stars": [rng.randint(1, 5) for _ in range(num_rows)],
        "body": [" ".join(rng.choices(WORDS, k=rng.randint(3, 25))) for _ in range(num_rows)],
    }
    return pa.table({name: values for name, values in (found | columns).items() if values is not None})


def _file(table: pa.Table, row_group_size: int = 50, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=row_group_size, **options)
    return sink.getvalue().to_pybytes()


def _any_file(rng: random.Random, **options: Any) -> bytes:
    chosen = {"compression": rng.choice(COMPRESSIONS), "use_dictionary": rng.random() < 0.5}
    return _file(_table(rng), **chosen | {"data_page_version": rng.choice(["1.0", "2.0"])} | options)


def _paged_file(rng: random.Random, num_rows: int, num_pages: int) -> bytes:
    """Return four row groups of that many pages a column; each text begins with its row's id."""
    table, size = _table(rng, num_rows), num_rows // 4 // num_pages
    table = table.set_column(BODY, "body", pc.binary_join_element_wise(table["review_id"], table["body"], " "))
    options: dict[str, Any] = {"max_rows_per_page": size, "write_batch_size": size, "compression": "zstd"}
    return _file(table, num_rows // 4, use_dictionary=False, **options)


def _unchecked(kind: pa.DataType, values: list[bytes]) -> pa.Array:
    """Return bytes as text without a look at whether they are UTF-8."""
    plain = pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(kind, len(plain), plain.buffers())


def _repeated(value: str, num_rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int32()), [value])


# Thrift's compact protocol: a struct is {field: [type, value]}, a list is [type, items]

TRUE, FALSE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 4, 5, 6, 7, 8, 9, 12


def _read(stream: io.BytesIO, kind: int) -> Any:
    if kind in (TRUE, FALSE):
        return kind == TRUE
    if kind in (I16, I32, I64):
        number = _read_varint(stream)
        return number >> 1 ^ -(number & 1)
    if kind == BINARY:
        return stream.read(_read_varint(stream))
    if kind == LIST:
        head = stream.read(1)[0]
        size = head >> 4 if head >> 4 < 15 else _read_varint(stream)
        return [head & 15, [_read(stream, head & 15) for _ in range(size)]]
    if kind == STRUCT:
        fields: dict[int, list[Any]] = {}
        number = 0
        while head := stream.read(1)[0]:
            number = number + (head >> 4) if head >> 4 else _read(stream, I16)
            fields[number] = [head & 15, _read(stream, head & 15)]
        return fields
    return stream.read(8 if kind == DOUBLE else 1)


def _read_varint(stream: io.BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte if byte < 128 else byte & 127 | _read_varint(stream) << 7


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)


def _thrift(value: Any, kind: int = STRUCT) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind in (I16, I32, I64):
        return _varint(value << 1 ^ value >> 63)
    if kind == BINARY:
        return _varint(len(value)) + value
    if kind == LIST:
        of, items = value
        return bytes([0xF0 | of]) + _varint(len(items)) + b"".join(_thrift(item, of) for item in items)
    if kind == STRUCT:
        fields = (bytes([of]) + _thrift(number, I16) + _thrift(item, of) for number, (of, item) in value.items())
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


def _at(node: Any, path: tuple[int, ...]) -> Any:
    for step in path:
        node = node[step][1] if isinstance(node, dict) else node[1][step]
    return node


def _edit(tree: Any, path: tuple[int, ...], value: int | bytes | list[Any] | None) -> None:
    """Set what `path` leads to, or remove that field when the value is None."""
    node, last = _at(tree, path[:-1]), path[-1]
    if value is None:
        del node[last]
    else:
        node.setdefault(last, [BINARY if isinstance(value, bytes) else I32, None])[1] = value


def _footer_at(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _footer(data: bytes) -> Any:
    return _read(io.BytesIO(data[_footer_at(data) :]), STRUCT)


def _sealed(pages: bytes, footer: bytes, size: int | None = None) -> bytes:
    size = len(footer) if size is None else size % 2**32
    return pages + footer + size.to_bytes(4, "little") + MAGIC


def _refooted(data: bytes, *edits: tuple[tuple[int, ...], Any]) -> bytes:
    footer = _footer(data)
    for path, value in edits:
        _edit(footer, path, value)
    return _sealed(data[: _footer_at(data)], _thrift(footer))


def _pages(data: bytes) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Yield where each page's header, body and end are, and its row group and column."""
    for group, row_group in enumerate(_at(_footer(data), (GROUPS,))[1]):
        for column in range(len(_at(row_group, (COLUMNS,))[1])):
            chunk = _at(row_group, (COLUMNS, column, META))
            at = min(chunk[field][1] for field in (DATA_AT, DICTIONARY_AT) if field in chunk)
            end = at + chunk[SIZE][1]
            while at < end:
                stream = io.BytesIO(data)
                stream.seek(at)
                size = _read(stream, STRUCT)[PAGE_SIZE][1]
                yield at, stream.tell(), stream.tell() + size, (group, column)
                at = stream.tell() + size


def _page_edited(data: bytes, page: int, path: tuple[int, ...], value: Any) -> bytes:
    """Change the header of a page of the file's last chunk, behind which only the footer has to move."""
    footer, pages = _footer(data), list(_pages(data))
    at, body, _, (group, column) = [found for found in pages if found[3] == pages[-1][3]][page]
    header = _read(io.BytesIO(data[at:body]), STRUCT)
    _edit(header, path, value)
    chunk = _at(footer, (GROUPS, group, COLUMNS, column, META))
    longer = len(_thrift(header)) - (body - at)
    chunk[SIZE][1] += longer
    if at < chunk[DATA_AT][1]:
        chunk[DATA_AT][1] += longer
    return _sealed(data[:at] + _thrift(header) + data[body : _footer_at(data)], _thrift(footer))


def _multiplied(data: bytes, times: int) -> bytes:
    """Repeat every page of a file of one row group, so that few rows become many at the cost of their bytes."""
    footer, pages = _footer(data), MAGIC
    for at, _, end, (_, column) in _pages(data):
        chunk = _at(footer, (*GROUP, COLUMNS, column, META))
        chunk[DATA_AT][1] = len(pages)
        for field in (NUM_VALUES, PLAIN_SIZE, SIZE):
            chunk[field][1] *= times
        pages += data[at:end] * times
    for path in ((NUM_ROWS,), (*GROUP, GROUP_ROWS)):
        _edit(footer, path, _at(footer, path) * times)
    return _sealed(pages, _thrift(footer))


# Broken bytes: variants with numbers have no end


def _empty(rng: random.Random) -> Variants:
    yield from {"nothing": b"", "magic": MAGIC, "magics": MAGIC * 2, "zeros": MAGIC + bytes(4) + MAGIC}.items()


def _truncated(rng: random.Random) -> Variants:
    for number in itertools.count():
        data = _any_file(rng)
        (at, body, end, _), footer, size = next(_pages(data)), _footer_at(data), len(data)
        places = [at + 2, (body + end) // 2, size // 2, footer, footer + 1, (footer + size) // 2]
        places += [size - 9, size - 8, size - 4, size - 1, rng.randrange(size)]
        yield f"{number:03d}", data[: places[number % len(places)]]


def _footer_length(rng: random.Random) -> Variants:
    data = _file(_table(rng))
    at, size = _footer_at(data), len(data)
    lengths = {"zero": 0, "negative": -1, "least": 2**31, "huge": INT_MAX, "beyond": size, "whole": size - 8}
    lengths |= {"half": (size - at) // 2, "one-less": size - at - 9, "one-more": size - at - 7}
    yield from ((label, _sealed(data[:at], data[at:-8], length)) for label, length in lengths.items())


def _flipped(part: str) -> Callable[[random.Random], Variants]:
    def variants(rng: random.Random) -> Variants:
        for number in itertools.count():
            data = bytearray(_any_file(rng))
            ranges = {
                "pages": [range(body, end) for _, body, end, _ in _pages(data)],
                "headers": [range(at, body) for at, body, _, _ in _pages(data)],
                "footer": [range(_footer_at(data), len(data) - 8)],
            }
            for at in rng.choices(list(itertools.chain(*ranges[part])), k=rng.choice([1, 1, 2, 8])):
                data[at] ^= 1 << rng.randrange(8)
            yield f"{number:03d}", bytes(data)

    return variants


def _statistics(rng: random.Random) -> Variants:
    for number in itertools.count():
        data, edits = _any_file(rng), []
        path = (GROUPS, rng.randrange(4), COLUMNS, rng.randrange(3), META, STATISTICS)
        for field, (kind, value) in _at(_footer(data), path).items():
            if kind == BINARY:
                edits.append(((*path, field), rng.choice([value[::-1], rng.randbytes(len(value)), rng.randbytes(3)])))
            elif kind == I64:
                edits.append(((*path, field), rng.choice([value, -1, 51, HUGE])))
        yield f"{number:03d}", _refooted(data, *edits)


def _random_bytes(rng: random.Random) -> Variants:
    for number in itertools.count():
        size = rng.choice([8, 100, 1000, 50_000])
        length = rng.choice([size, size // 2, 7, rng.getrandbits(32)])
        yield f"{number:03d}", _sealed(MAGIC, rng.randbytes(size), length)


def _corrupt_row_group(rng: random.Random) -> Variants:
    for number in itertools.count():
        data, group = bytearray(_any_file(rng, compression=COMPRESSIONS[number % 6])), rng.randrange(4)
        for _, body, end, place in list(_pages(data)):
            if place == (group, BODY):
                data[body:end] = rng.randbytes(end - body)
        yield f"{number:03d}-group-{group}", bytes(data)


def _short_column(rng: random.Random) -> Variants:
    """A reader skips a page of an unknown type, and then pairs a row's text with the id of another row."""
    for number in itertools.count():
        data = bytearray(_paged_file(rng, 200 if number % 8 else 100_000, 5))
        group, column, page = rng.randrange(4), rng.choice([0, 1, BODY, BODY]), rng.randrange(4)
        data[[at for at, _, _, place in _pages(data) if place == (group, column)][page] + 1] = 18
        yield f"{number:03d}-group-{group}-column-{column}", bytes(data)


def _codec(rng: random.Random) -> Variants:
    for codec, (label, right) in itertools.product([0, 1, 2, 3, 4, 5, 6, 7, 99, -1], {"none": 0, "zstd": 6}.items()):
        if codec != right:
            yield f"{label}-as-{codec}", _refooted(_file(_table(rng), compression=label), ((*CHUNK, CODEC), codec))


def _checksum(rng: random.Random) -> Variants:
    for version, dictionary in itertools.product(["1.0", "2.0"], [False, True]):
        options = {"data_page_version": version, "use_dictionary": dictionary, "compression": "none"}
        data = _file(_table(rng), write_page_checksum=True, **options)
        end = _footer_at(data)
        yield f"wrong-{version}-{dictionary}", _page_edited(data, -1, (CRC,), 12345)
        yield f"right-{version}-{dictionary}", data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:]


# Lies of the footer and of page headers


def _footer_lies(rng: random.Random) -> Variants:
    data = _file(_table(rng))
    fields = {"rows": (NUM_ROWS,), "group-rows": (*GROUP, GROUP_ROWS), "values": (*CHUNK, NUM_VALUES)}
    fields |= {"size": (*CHUNK, SIZE), "data-at": (*CHUNK, DATA_AT), "dictionary-at": (*CHUNK, DICTIONARY_AT)}
    for (label, number), (field, path) in itertools.product(NUMBERS.items(), fields.items()):
        yield f"{field}-{label}", _refooted(data, (path, number))
    yield "all-group-rows-fewer", _refooted(data, *(((GROUPS, group, GROUP_ROWS), 37) for group in range(4)))


def _schema_lies(rng: random.Random) -> Variants:
    data = _file(_table(rng))
    edits: dict[str, tuple[tuple[int, ...], Any]] = {
        "no-schema": ((SCHEMA,), None), "empty-schema": ((SCHEMA,), [STRUCT, []]), "no-rows": ((NUM_ROWS,), None),
        "no-groups": ((GROUPS,), None), "no-chunk": (CHUNK, None), "no-columns": ((*GROUP, COLUMNS), [STRUCT, []]),
        "children-negative": ((SCHEMA, 0, NUM_CHILDREN), -1), "children-huge": ((SCHEMA, 0, NUM_CHILDREN), INT_MAX),
        "children-more": ((SCHEMA, 0, NUM_CHILDREN), 4), "children-fewer": ((SCHEMA, 0, NUM_CHILDREN), 2),
        "type-unknown": ((SCHEMA, 3, TYPE), 77), "type-int": ((SCHEMA, 3, TYPE), 1), "chunk-int": ((*CHUNK, TYPE), 1),
        "repeated": ((SCHEMA, 3, REPETITION), 2), "required": ((SCHEMA, 3, REPETITION), 0),
        "converted-unknown": ((SCHEMA, 3, CONVERTED), 99), "encodings": ((*CHUNK, ENCODINGS), [I32, [99]]),
        "other-path": ((*CHUNK, PATH), [BINARY, [b"stars"]]), "other-file": ((*CHUNK[:-1], 1), b"/etc/passwd"),
        "arrow-schema": ((KEY_VALUES, 0, 2), b"!" * 100), "key-invalid": ((KEY_VALUES, 0, 1), b"\xff\xfe"),
        "name-invalid": ((SCHEMA, 3, NAME), b"bo\xffdy"), "other-name-invalid": ((SCHEMA, 1, NAME), b"review\xff"),
        "name-nul": ((SCHEMA, 1, NAME), b"review\0id"), "name-empty": ((SCHEMA, 1, NAME), b""),
    }  # fmt: skip
    yield from ((label, _refooted(data, edit)) for label, edit in edits.items())
    yield "head-encrypted", b"PARE" + data[4:]


def _page_lies(rng: random.Random) -> Variants:
    kinds = {"v1": ("1.0", PAGE_V1, 2), "v2": ("2.0", PAGE_V2, 4), "dictionary": ("1.0", DICTIONARY, 2)}
    for label, (version, inner, encoding) in kinds.items():
        data = _file(_table(rng), use_dictionary=inner == DICTIONARY, data_page_version=version)
        fields = {"values": (inner, 1), "plain-size": (PAGE_PLAIN_SIZE,), "size": (PAGE_SIZE,)}
        for (size, number), (field, path) in itertools.product(list(NUMBERS.items())[:5], fields.items()):
            yield f"{label}-{field}-{size}", _page_edited(data, 0, path, number)
        yield f"{label}-type", _page_edited(data, 0, (PAGE_TYPE,), 9)
        yield f"{label}-encoding", _page_edited(data, 0, (inner, encoding), 5)
        yield f"{label}-no-header", _page_edited(data, 0, (inner,), None)


def _footer_bombs(rng: random.Random) -> Variants:
    deep = {NAME: [BINARY, b"n"], NUM_CHILDREN: [I32, 1], REPETITION: [I32, 1]}
    leaf = {NAME: [BINARY, b"n"], TYPE: [I32, 6], REPETITION: [I32, 1]}
    for depth in (99, 10_000, 200_000):
        schema = [LIST, [STRUCT, [deep] * depth + [leaf]]]
        rows = {NUM_ROWS: [I64, 0], GROUPS: [LIST, [STRUCT, []]]}
        yield f"depth-{depth}", _sealed(MAGIC, _thrift({1: [I32, 2], SCHEMA: schema} | rows))
    yield "list", _sealed(MAGIC, b"\x15\x02\x19\xfc" + _varint(INT_MAX))
    yield "string", _sealed(MAGIC, b"\x15\x02\x19\x1c\x48" + _varint(INT_MAX))
    yield "structs", _sealed(MAGIC, b"\x1c" * 1_000_000)
    yield "lists", _sealed(MAGIC, b"\x19" * 1_000_000)


# Valid files that are not what was asked for


def _text_missing(rng: random.Random) -> Variants:
    for label in ("Body", "body ", "text", "review.body"):
        yield f"renamed-{label}", _file(_table(rng).rename_columns(["review_id", "stars", label]))
    yield "dropped", _file(_table(rng, body=None))
    yield "nested", _file(_table(rng, body=None, review=[{"body": "a pie"}] * 200))


def _text_retyped(rng: random.Random) -> Variants:
    values: dict[str, Any] = {
        "int": [1], "float": [1.5], "bool": [True], "binary": [b"good"], "null": [None], "list": [["good", "pie"]],
        "struct": [{"body": "good"}], "decimal": [Decimal("1.50")], "list-of-struct": [[{"a": "b"}]],
        "timestamp": pa.array([0], pa.timestamp("us")), "date": pa.array([0], pa.date32()),
        "map": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), "time": pa.array([0], pa.time64("us")),
        "fixed": pa.array([b"good"], pa.binary(4)), "half": pa.array([1.0], pa.float16()),
        "duration": pa.array([1], pa.duration("s")), "int-dictionary": pa.array([1]).dictionary_encode(),
        "large-list": pa.array([["good"]], pa.large_list(pa.string())), "uuid": pa.array([bytes(16)], pa.uuid()),
    }  # fmt: skip
    yield from ((label, _file(_table(rng, 1, body=value))) for label, value in values.items())


def _twice(rng: random.Random) -> Variants:
    table = _table(rng)
    yield "body", _file(table.append_column("body", table["body"]))
    yield "id", _file(table.append_column("review_id", table["body"]))
    yield "body-int", _file(table.append_column("body", table["stars"]))
    yield "all", _file(pa.Table.from_arrays(table.columns * 2, names=table.column_names * 2))


def _others(rng: random.Random) -> Variants:
    kinds: dict[str, dict[str, Any]] = {
        "stars-text": {"stars": ["3"]}, "stars-float": {"stars": [3.5]}, "stars-null": {"stars": [None]},
        "stars-missing": {"stars": None}, "id-int": {"review_id": [7]}, "id-missing": {"review_id": None},
        "both-missing": {"stars": None, "review_id": None}, "stars-list": {"stars": [[1, 2]]},
        "id-struct": {"review_id": [{"a": {"b": [1]}}]}, "when": {"when": pa.array([0], pa.timestamp("ns", "UTC"))},
        "name-empty": {"": [1]}, "name-dotted": {"body.x": [1]}, "name-newline": {"a\nb": [1]},
        "id-long": {"review_id": ["x" * 100_000]}, "stars-max": {"stars": [2**63 - 1]},
    }  # fmt: skip
    yield from ((label, _file(_table(rng, 1, **columns))) for label, columns in kinds.items())


def _no_rows(rng: random.Random) -> Variants:
    table, sink = _table(rng), pa.BufferOutputStream()
    parquet.ParquetWriter(sink, table.schema).close()
    yield "groups", sink.getvalue().to_pybytes()
    yield "rows", _file(table[:0])
    yield "text-column", _file(pa.table({"body": pa.array([], pa.string())}))


def _no_columns(rng: random.Random) -> Variants:
    yield "at-all", _file(pa.table({}))
    yield "but-rows", _refooted(_file(pa.table({})), ((NUM_ROWS,), 5))


def _texts(rng: random.Random) -> Variants:
    blank = ["", " ", "\t\n\r\v\f", "\u00a0", "\u2003\u3000"]
    odd = ["\u200b", "\ufeff", "\0", "\0" * 1000, "\U0010ffff", "e" + "\u0301" * 5000, "\ud7ff\ue000", "\u202egood"]
    text, stars = pa.nulls(200, pa.string()), pa.nulls(200, pa.int64())
    tables = {
        "null": {"body": text}, "all-null": {"body": text, "review_id": text, "stars": stars},
        "half-null": {"body": [None, "good pie"] * 100}, "empty": {"body": [""] * 200}, "blank": {"body": blank * 40},
        "odd": {"body": odd * 25}, "mixed": {"body": ["a good pie", None, "", *odd[:5]] * 25},
        "over-1-mib": {"body": ["pie " * 2**18 + "x", *["good"] * 199]},
        "over-5-mib": {"body": ["good"] * 199 + ["pie " * 2**18 * 5 + "x"]},
        "one-word-of-1-mib": {"body": ["good"] * 198 + ["x" * 2**20, "ü" * 2**20]},
    }  # fmt: skip
    yield from ((label, _file(_table(rng, **columns), compression="zstd")) for label, columns in tables.items())
    nulls = pa.nulls(300_000, pa.string())
    yield "300000-nulls", _file(pa.table({"review_id": nulls, "stars": nulls.cast(pa.int64()), "body": nulls}), 300_000)


def _invalid_utf8(rng: random.Random) -> Variants:
    bad = [b"pie", b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82", b""] * 25
    for label, kind in (("text", pa.string()), ("large", pa.large_string())):
        yield label, _file(_table(rng, body=_unchecked(kind, bad)))
        yield f"{label}-plain", _file(_table(rng, body=_unchecked(kind, bad)), use_dictionary=False)
        yield f"{label}-every", _file(_table(rng, body=_unchecked(kind, [b"\xff"] * 200)))
    words = _unchecked(pa.string(), [b"pie", b"\xff"])
    yield "dictionary", _file(_table(rng, body=pa.DictionaryArray.from_arrays(pa.array([0, 1] * 100), words)))
    yield "id", _file(_table(rng, review_id=_unchecked(pa.string(), bad)))


def _bombs(rng: random.Random) -> Variants:
    """Small files whose columns decode to 256 MB or to hundreds of gigabytes."""
    options: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "dictionary_pagesize_limit": 2**30}
    yield "256-mb-text", _file(_table(rng, 1, body=["0" * 2**28]), use_dictionary=False, **options)
    plain = _file(_table(rng, 1, body=["0" * 2**23]), use_dictionary=False, **options)
    yield "8-gb-of-plain-text", _multiplied(plain, 1000)
    for label, column, size, num_rows in (
        ("800-gb-of-text", "body", 2**23, 100_000), ("20-gb-of-text", "body", 2**18, 80_000),
        ("2.5-gb-of-text", "body", 40 * 2**20, 64), ("20-gb-of-ids", "review_id", 2**20, 20_000),
    ):  # fmt: skip
        columns = {"review_id": ["r"] * num_rows, "body": ["pie"] * num_rows, column: _repeated("0" * size, num_rows)}
        table = pa.table({"stars": [5] * num_rows, **columns})
        yield label, _file(table, num_rows, store_schema=False, **options)
        yield f"{label}-dictionary", _file(table, num_rows, **options)


def _deep_and_wide(rng: random.Random) -> Variants:
    for depth in (30, 300):
        structs = lists = pa.array([1] * 50)
        for _ in range(depth):
            structs, lists = pa.StructArray.from_arrays([structs], ["n"]), pa.ListArray.from_arrays(range(51), lists)
        yield f"structs-{depth}", _file(_table(rng, 50, deep=structs))
        yield f"lists-{depth}", _file(_table(rng, 50, deep=lists))
    yield "3000-columns", _file(_table(rng, 2, **{f"column_{number}": [number, None] for number in range(3000)}))
    yield "2000-row-groups", _file(_table(rng, 2000), row_group_size=1)


def _colliding(rng: random.Random) -> Variants:
    for label in ("label", "score", "positive", "tokens", "truncated"):
        yield label, _file(_table(rng, **{f"sentiment_{label}": ["good"] * 200}))


# Not Parquet, and good Parquet in odd clothes


def _encrypted(rng: random.Random) -> Variants:
    data = _file(_table(rng))
    yield from {"footer": data[:-4] + b"PARE", "both": b"PARE" + data[4:-4] + b"PARE"}.items()


def _other_formats(rng: random.Random) -> Variants:
    table, archive, arrow, columns = _table(rng), io.BytesIO(), io.BytesIO(), io.BytesIO()
    rows = table.to_pylist()
    csv = "\n".join(["review_id,stars,body", *(",".join(map(str, row.values())) for row in rows)]).encode()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("reviews.csv"), csv)
    feather.write_feather(table, arrow)
    orc.write_table(table, columns)
    yield from {
        "csv": csv, "json": json.dumps(rows).encode(), "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "utf-16": csv.decode().encode("utf-16"), "gzip": gzip.compress(csv, mtime=0), "zip": archive.getvalue(),
        "onnx": b"\x08\x0a\x12\x07pytorch" + rng.randbytes(5000), "html": b"<html>404</html>", "zeros": bytes(100_000),
        "arrow": arrow.getvalue(), "orc": columns.getvalue(), "packed": gzip.compress(_file(table), mtime=0),
    }.items()  # fmt: skip


def _not_files(rng: random.Random) -> Variants:
    yield "directory", Path.mkdir
    yield "dangling-link", lambda path: path.symlink_to("nowhere.parquet")
    yield "link-to-itself", lambda path: path.symlink_to(path.name)
    yield "link-to-device", lambda path: path.symlink_to("/dev/zero")
    yield "pipe", os.mkfifo


def _names(rng: random.Random) -> Variants:
    labels = [
        "byte-\udcff", "two words", "ünï-❤️-عربي", "100%25%2F", "new\nline", "quote'\"`", "[a-c]*?", "year=2024", "{0}",
        "a\\b", "-rf", "$HOME;#&", "x" * 235, ".. .", "bell\a\x1b[31m", "\u202egnp", "~", "s3:", "tab\t",
    ]  # fmt: skip
    yield from ((label, _file(_table(rng, 20))) for label in labels)


def _good(rng: random.Random) -> Variants:
    table = _table(rng)
    text, codes = table["body"].combine_chunks(), pa.array([0, 1] * 100, pa.int8())
    words = {"small": ["good", "bad"], "unused": ["good", "bad", "neither", ""]}
    bodies = {label: pa.DictionaryArray.from_arrays(codes, values) for label, values in words.items()}
    bodies |= {"large": text.cast(pa.large_string()), "view": text.cast(pa.string_view()), "one": ["a good pie"] * 200}
    bodies |= {"dictionary": text.dictionary_encode(), "json": pa.array(['{"a": "good"}'] * 200, pa.json_())}
    yield from ((f"text-{label}", _file(_table(rng, body=values))) for label, values in bodies.items())
    delta = {"body": "DELTA_BYTE_ARRAY", "stars": "DELTA_BINARY_PACKED"}
    options: dict[str, dict[str, Any]] = {
        "falls-back": {"dictionary_pagesize_limit": 512, "data_page_size": 256, "write_batch_size": 4},
        "delta": {"use_dictionary": False, "column_encoding": delta},
        "lengths": {"use_dictionary": False, "column_encoding": {"body": "DELTA_LENGTH_BYTE_ARRAY"}},
        "one-row-groups": {"row_group_size": 1}, "one-group": {"row_group_size": 200},
        "plain": {"use_dictionary": False}, "page-index": {"write_page_index": True},
        "tiny-pages": {"data_page_size": 64, "write_batch_size": 4},
        "page-rows": {"max_rows_per_page": 3, "write_batch_size": 1}, "no-arrow-schema": {"store_schema": False},
        "version-1": {"version": "1.0"}, "no-statistics": {"write_statistics": False},
        "checksums": {"write_page_checksum": True}, "bloom": {"bloom_filter_options": {"body": True}},
        **{name: {"compression": name} for name in COMPRESSIONS},
        **{f"{name}-v2": {"compression": name, "data_page_version": "2.0"} for name in COMPRESSIONS},
    }  # fmt: skip
    yield from ((label, _file(table, **chosen)) for label, chosen in options.items())
    yield "required", _file(table.cast(pa.schema([field.with_nullable(False) for field in table.schema])))
    yield from ((f"only-{len(names)}", _file(table.select(names))) for names in (["body"], table.column_names[::-1]))


KINDS: dict[str, tuple[Callable[[random.Random], Variants], bool]] = {
    "empty": (_empty, True), "truncated": (_truncated, True), "footer-length": (_footer_length, True),
    "flipped-pages": (_flipped("pages"), False), "flipped-headers": (_flipped("headers"), False),
    "flipped-footer": (_flipped("footer"), False), "flipped-statistics": (_statistics, False),
    "random-bytes": (_random_bytes, True), "corrupt-row-group": (_corrupt_row_group, False),
    "short-column": (_short_column, False), "wrong-codec": (_codec, False), "checksum": (_checksum, False),
    "footer-lie": (_footer_lies, False), "schema-lie": (_schema_lies, False), "page-lie": (_page_lies, False),
    "footer-bomb": (_footer_bombs, True), "text-missing": (_text_missing, True), "text-retyped": (_text_retyped, True),
    "column-twice": (_twice, False), "other-columns": (_others, False), "no-rows": (_no_rows, False),
    "no-columns": (_no_columns, True), "texts": (_texts, False), "invalid-utf8": (_invalid_utf8, False),
    "bomb": (_bombs, False), "deep-and-wide": (_deep_and_wide, False), "colliding": (_colliding, False),
    "encrypted": (_encrypted, True), "other-format": (_other_formats, True), "not-a-file": (_not_files, True),
    "name": (_names, False), "good": (_good, False),
}  # fmt: skip
"""What there is to try, each kind with its variants and whether a file of it can hold no row to score."""
