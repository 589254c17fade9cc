"""Parquet files with damaged bytes or false metadata; numbered variants are endless. Knows nothing of scoring."""

import itertools
import random
from collections.abc import Callable
from typing import Any

from tests.score.parquet_bytes import (
    BINARY,
    BODY,
    CHUNK,
    CODEC,
    COLUMNS,
    COMPRESSIONS,
    CONVERTED,
    CRC,
    DATA_AT,
    DICTIONARY,
    DICTIONARY_AT,
    ENCODINGS,
    GROUP,
    GROUP_ROWS,
    GROUPS,
    HUGE,
    I32,
    I64,
    INT_MAX,
    KEY_VALUES,
    LIST,
    MAGIC,
    META,
    NAME,
    NUM_CHILDREN,
    NUM_ROWS,
    NUM_VALUES,
    NUMBERS,
    PAGE_PLAIN_SIZE,
    PAGE_SIZE,
    PAGE_TYPE,
    PAGE_V1,
    PAGE_V2,
    PATH,
    REPETITION,
    SCHEMA,
    SIZE,
    STATISTICS,
    STRUCT,
    TYPE,
    Variants,
    edit_footer,
    edit_page,
    footer_offset,
    make_any_file,
    make_file,
    make_paged_file,
    make_table,
    node_at,
    pages_of,
    parse_footer,
    seal,
    to_thrift,
    to_varint,
)

# Damaged bytes; numbered variants are endless


def empty_variants(rng: random.Random) -> Variants:
    yield from {"nothing": b"", "magic": MAGIC, "magics": MAGIC * 2, "zeros": MAGIC + bytes(4) + MAGIC}.items()


def truncated_variants(rng: random.Random) -> Variants:
    for number in itertools.count():
        data = make_any_file(rng)
        (at, body, end, _), footer, size = next(pages_of(data)), footer_offset(data), len(data)
        places = [at + 2, (body + end) // 2, size // 2, footer, footer + 1, (footer + size) // 2]
        places += [size - 9, size - 8, size - 4, size - 1, rng.randrange(size)]
        yield f"{number:03d}", data[: places[number % len(places)]]


def footer_length_variants(rng: random.Random) -> Variants:
    data = make_file(make_table(rng))
    at, size = footer_offset(data), len(data)
    lengths = {"zero": 0, "negative": -1, "least": 2**31, "huge": INT_MAX, "beyond": size, "whole": size - 8}
    lengths |= {"half": (size - at) // 2, "one-less": size - at - 9, "one-more": size - at - 7}
    yield from ((label, seal(data[:at], data[at:-8], length)) for label, length in lengths.items())


def flipped_variants(part: str) -> Callable[[random.Random], Variants]:
    def variants(rng: random.Random) -> Variants:
        for number in itertools.count():
            data = bytearray(make_any_file(rng))
            ranges = {
                "pages": [range(body, end) for _, body, end, _ in pages_of(data)],
                "headers": [range(at, body) for at, body, _, _ in pages_of(data)],
                "footer": [range(footer_offset(data), len(data) - 8)],
            }
            for at in rng.choices(list(itertools.chain(*ranges[part])), k=rng.choice([1, 1, 2, 8])):
                data[at] ^= 1 << rng.randrange(8)
            yield f"{number:03d}", bytes(data)

    return variants


def statistics_variants(rng: random.Random) -> Variants:
    for number in itertools.count():
        data, edits = make_any_file(rng), []
        path = (GROUPS, rng.randrange(4), COLUMNS, rng.randrange(3), META, STATISTICS)
        for field, (kind, value) in node_at(parse_footer(data), path).items():
            if kind == BINARY:
                edits.append(((*path, field), rng.choice([value[::-1], rng.randbytes(len(value)), rng.randbytes(3)])))
            elif kind == I64:
                edits.append(((*path, field), rng.choice([value, -1, 51, HUGE])))
        yield f"{number:03d}", edit_footer(data, *edits)


def random_bytes_variants(rng: random.Random) -> Variants:
    for number in itertools.count():
        size = rng.choice([8, 100, 1000, 50_000])
        length = rng.choice([size, size // 2, 7, rng.getrandbits(32)])
        yield f"{number:03d}", seal(MAGIC, rng.randbytes(size), length)


def corrupt_row_group_variants(rng: random.Random) -> Variants:
    for number in itertools.count():
        data, group = bytearray(make_any_file(rng, compression=COMPRESSIONS[number % 6])), rng.randrange(4)
        for _, body, end, place in list(pages_of(data)):
            if place == (group, BODY):
                data[body:end] = rng.randbytes(end - body)
        yield f"{number:03d}-group-{group}", bytes(data)


def short_column_variants(rng: random.Random) -> Variants:
    """A reader skips a page of an unknown type, and then pairs the text of one row with the id of another."""
    for number in itertools.count():
        data = bytearray(make_paged_file(rng, 200 if number % 8 else 100_000, 5))
        group, column, page = rng.randrange(4), rng.choice([0, 1, BODY, BODY]), rng.randrange(4)
        data[[at for at, _, _, place in pages_of(data) if place == (group, column)][page] + 1] = 18
        yield f"{number:03d}-group-{group}-column-{column}", bytes(data)


def codec_variants(rng: random.Random) -> Variants:
    for codec, (label, right) in itertools.product([0, 1, 2, 3, 4, 5, 6, 7, 99, -1], {"none": 0, "zstd": 6}.items()):
        if codec != right:
            yield (
                f"{label}-as-{codec}",
                edit_footer(make_file(make_table(rng), compression=label), ((*CHUNK, CODEC), codec)),
            )


def checksum_variants(rng: random.Random) -> Variants:
    for version, dictionary in itertools.product(["1.0", "2.0"], [False, True]):
        options = {"data_page_version": version, "use_dictionary": dictionary, "compression": "none"}
        data = make_file(make_table(rng), write_page_checksum=True, **options)
        end = footer_offset(data)
        yield f"wrong-{version}-{dictionary}", edit_page(data, -1, (CRC,), 12345)
        yield f"right-{version}-{dictionary}", data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:]


# False footers and page headers


def footer_lies_variants(rng: random.Random) -> Variants:
    data = make_file(make_table(rng))
    fields = {"rows": (NUM_ROWS,), "group-rows": (*GROUP, GROUP_ROWS), "values": (*CHUNK, NUM_VALUES)}
    fields |= {"size": (*CHUNK, SIZE), "data-at": (*CHUNK, DATA_AT), "dictionary-at": (*CHUNK, DICTIONARY_AT)}
    for (label, number), (field, path) in itertools.product(NUMBERS.items(), fields.items()):
        yield f"{field}-{label}", edit_footer(data, (path, number))
    yield "all-group-rows-fewer", edit_footer(data, *(((GROUPS, group, GROUP_ROWS), 37) for group in range(4)))


def schema_lies_variants(rng: random.Random) -> Variants:
    data = make_file(make_table(rng))
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
    yield from ((label, edit_footer(data, edit)) for label, edit in edits.items())
    yield "head-encrypted", b"PARE" + data[4:]


def page_lies_variants(rng: random.Random) -> Variants:
    kinds = {"v1": ("1.0", PAGE_V1, 2), "v2": ("2.0", PAGE_V2, 4), "dictionary": ("1.0", DICTIONARY, 2)}
    for label, (version, inner, encoding) in kinds.items():
        data = make_file(make_table(rng), use_dictionary=inner == DICTIONARY, data_page_version=version)
        fields = {"values": (inner, 1), "plain-size": (PAGE_PLAIN_SIZE,), "size": (PAGE_SIZE,)}
        for (size, number), (field, path) in itertools.product(list(NUMBERS.items())[:5], fields.items()):
            yield f"{label}-{field}-{size}", edit_page(data, 0, path, number)
        yield f"{label}-type", edit_page(data, 0, (PAGE_TYPE,), 9)
        yield f"{label}-encoding", edit_page(data, 0, (inner, encoding), 5)
        yield f"{label}-no-header", edit_page(data, 0, (inner,), None)


def footer_bombs_variants(rng: random.Random) -> Variants:
    deep = {NAME: [BINARY, b"n"], NUM_CHILDREN: [I32, 1], REPETITION: [I32, 1]}
    leaf = {NAME: [BINARY, b"n"], TYPE: [I32, 6], REPETITION: [I32, 1]}
    for depth in (99, 10_000, 200_000):
        schema = [LIST, [STRUCT, [deep] * depth + [leaf]]]
        rows = {NUM_ROWS: [I64, 0], GROUPS: [LIST, [STRUCT, []]]}
        yield f"depth-{depth}", seal(MAGIC, to_thrift({1: [I32, 2], SCHEMA: schema} | rows))
    yield "list", seal(MAGIC, b"\x15\x02\x19\xfc" + to_varint(INT_MAX))
    yield "string", seal(MAGIC, b"\x15\x02\x19\x1c\x48" + to_varint(INT_MAX))
    yield "structs", seal(MAGIC, b"\x1c" * 1_000_000)
    yield "lists", seal(MAGIC, b"\x19" * 1_000_000)
