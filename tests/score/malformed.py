"""Writes malformed, hostile and unusual Parquet files from a seed; knows nothing of scoring."""

import gzip
import io
import itertools
import json
import os
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather, orc, parquet

from tests.score.broken_parquet import (
    checksum_variants,
    codec_variants,
    corrupt_row_group_variants,
    empty_variants,
    flipped_variants,
    footer_bombs_variants,
    footer_length_variants,
    footer_lies_variants,
    page_lies_variants,
    random_bytes_variants,
    schema_lies_variants,
    short_column_variants,
    statistics_variants,
    truncated_variants,
)
from tests.score.parquet_bytes import (
    COMPRESSIONS,
    NUM_ROWS,
    Variants,
    edit_footer,
    make_file,
    make_table,
    multiply_pages,
    repeated_array,
    unchecked_array,
)


@dataclass(frozen=True)
class Case:
    """One file: `num_rows` is the count in a readable footer; `must_fail` means that no row can be scored."""

    name: str
    path: Path
    kind: str
    num_rows: int | None
    must_fail: bool


def write_malformed(directory: Path, *, seed: int, count: int = 300) -> list[Case]:
    """Write `count` files, the kinds in turn; the same seed gives the same bytes. 600 files have every variant."""
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
        return None  # opening a pipe would block
    with path.open("rb") as file:  # not by name: pyarrow refuses a name that is not UTF-8
        try:
            return int(parquet.read_metadata(file).num_rows)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            return None


# Valid files with unexpected content


def _text_missing(rng: random.Random) -> Variants:
    for label in ("Body", "text", "review.body"):
        yield f"renamed-{label}", make_file(make_table(rng).rename_columns(["review_id", "stars", label]))
    yield "dropped", make_file(make_table(rng, body=None))
    yield "nested", make_file(make_table(rng, body=None, review=[{"body": "a pie"}] * 200))


def _text_retyped(rng: random.Random) -> Variants:
    values: dict[str, Any] = {
        "int": [1], "float": [1.5], "bool": [True], "null": [None], "list": [["good", "pie"]],
        "struct": [{"body": "good"}], "decimal": [Decimal("1.50")], "list-of-struct": [[{"a": "b"}]],
        "timestamp": pa.array([0], pa.timestamp("us")), "date": pa.array([0], pa.date32()),
        "map": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), "time": pa.array([0], pa.time64("us")),
        "fixed": pa.array([b"good"], pa.binary(4)), "half": pa.array([1.0], pa.float16()),
        "duration": pa.array([1], pa.duration("s")), "int-dictionary": pa.array([1]).dictionary_encode(),
        "large-list": pa.array([["good"]], pa.large_list(pa.string())), "uuid": pa.array([bytes(16)], pa.uuid()),
    }  # fmt: skip
    yield from ((label, make_file(make_table(rng, 1, body=value))) for label, value in values.items())


def _twice(rng: random.Random) -> Variants:
    table = make_table(rng)
    yield "body", make_file(table.append_column("body", table["body"]))
    yield "id", make_file(table.append_column("review_id", table["body"]))
    yield "body-int", make_file(table.append_column("body", table["stars"]))
    yield "all", make_file(pa.Table.from_arrays(table.columns * 2, names=table.column_names * 2))


def _others(rng: random.Random) -> Variants:
    kinds: dict[str, dict[str, Any]] = {
        "stars-text": {"stars": ["3"]}, "stars-float": {"stars": [3.5]}, "stars-null": {"stars": [None]},
        "stars-missing": {"stars": None}, "id-int": {"review_id": [7]}, "id-missing": {"review_id": None},
        "both-missing": {"stars": None, "review_id": None}, "stars-list": {"stars": [[1, 2]]},
        "id-struct": {"review_id": [{"a": {"b": [1]}}]}, "when": {"when": pa.array([0], pa.timestamp("ns", "UTC"))},
        "name-empty": {"": [1]}, "name-dotted": {"body.x": [1]}, "name-newline": {"a\nb": [1]},
        "id-long": {"review_id": ["x" * 100_000]}, "stars-max": {"stars": [2**63 - 1]},
    }  # fmt: skip
    yield from ((label, make_file(make_table(rng, 1, **columns))) for label, columns in kinds.items())


def _no_rows(rng: random.Random) -> Variants:
    table, sink = make_table(rng), pa.BufferOutputStream()
    parquet.ParquetWriter(sink, table.schema).close()
    yield "groups", sink.getvalue().to_pybytes()
    yield "rows", make_file(table[:0])
    yield "text-column", make_file(pa.table({"body": pa.array([], pa.string())}))
    yield (
        "types",
        make_file(pa.table({"body": pa.nulls(0), "stars": pa.array([], pa.float64()), "review_id": pa.nulls(0)})),
    )
    yield "text", make_file(pa.table({"stars": pa.array([], pa.int64())}))


def _no_columns(rng: random.Random) -> Variants:
    yield "at-all", make_file(pa.table({}))
    yield "but-rows", edit_footer(make_file(pa.table({})), ((NUM_ROWS,), 5))


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
        "null-type": {"body": pa.nulls(200)}, "binary": {"body": [b"good", b"caf\xe9"] * 100},
        "views": {"tags": pa.array([["good"], None] * 100, pa.list_(pa.string_view()))},
        "small-stars": {"stars": pa.array([1, 2] * 100, pa.int8())},
    }  # fmt: skip
    yield from ((label, make_file(make_table(rng, **columns), compression="zstd")) for label, columns in tables.items())
    yield "padded", make_file(make_table(rng).rename_columns(["review_id", "stars", " body"]))
    nulls = pa.nulls(300_000, pa.string())
    yield (
        "300000-nulls",
        make_file(pa.table({"review_id": nulls, "stars": nulls.cast(pa.int64()), "body": nulls}), 300_000),
    )


def _invalid_utf8(rng: random.Random) -> Variants:
    bad = [b"pie", b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82", b""] * 25
    for label, kind in (("text", pa.string()), ("large", pa.large_string())):
        yield label, make_file(make_table(rng, body=unchecked_array(kind, bad)))
        yield f"{label}-plain", make_file(make_table(rng, body=unchecked_array(kind, bad)), use_dictionary=False)
        yield f"{label}-every", make_file(make_table(rng, body=unchecked_array(kind, [b"\xff"] * 200)))
    words = unchecked_array(pa.string(), [b"pie", b"\xff"])
    yield "dictionary", make_file(make_table(rng, body=pa.DictionaryArray.from_arrays(pa.array([0, 1] * 100), words)))
    yield "id", make_file(make_table(rng, review_id=unchecked_array(pa.string(), bad)))


def _bombs(rng: random.Random) -> Variants:
    """Small files whose columns decode to 256 MB or to hundreds of gigabytes."""
    options: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "dictionary_pagesize_limit": 2**30}
    yield "256-mb-text", make_file(make_table(rng, 1, body=["0" * 2**28]), use_dictionary=False, **options)
    plain = make_file(make_table(rng, 1, body=["0" * 2**23]), use_dictionary=False, **options)
    yield "8-gb-of-plain-text", multiply_pages(plain, 1000)
    for label, column, size, num_rows in (
        ("800-gb-of-text", "body", 2**23, 100_000), ("20-gb-of-text", "body", 2**18, 80_000),
        ("2.5-gb-of-text", "body", 40 * 2**20, 64), ("20-gb-of-ids", "review_id", 2**20, 20_000),
    ):  # fmt: skip
        columns = {
            "review_id": ["r"] * num_rows,
            "body": ["pie"] * num_rows,
            column: repeated_array("0" * size, num_rows),
        }
        table = pa.table({"stars": [5] * num_rows, **columns})
        yield label, make_file(table, num_rows, store_schema=False, **options)
        yield f"{label}-dictionary", make_file(table, num_rows, **options)


def _deep_and_wide(rng: random.Random) -> Variants:
    for depth in (30, 300):
        structs = lists = pa.array([1] * 50)
        for _ in range(depth):
            structs, lists = pa.StructArray.from_arrays([structs], ["n"]), pa.ListArray.from_arrays(range(51), lists)
        yield f"structs-{depth}", make_file(make_table(rng, 50, deep=structs))
        yield f"lists-{depth}", make_file(make_table(rng, 50, deep=lists))
    yield (
        "3000-columns",
        make_file(make_table(rng, 2, **{f"column_{number}": [number, None] for number in range(3000)})),
    )
    yield "2000-row-groups", make_file(make_table(rng, 2000), row_group_size=1)


def _colliding(rng: random.Random) -> Variants:
    for label in ("label", "score", "positive", "tokens", "truncated"):
        yield label, make_file(make_table(rng, **{f"sentiment_{label}": ["good"] * 200}))


# Other formats, and valid Parquet in unusual forms


def _encrypted(rng: random.Random) -> Variants:
    data = make_file(make_table(rng))
    yield from {"footer": data[:-4] + b"PARE", "both": b"PARE" + data[4:-4] + b"PARE"}.items()


def _other_formats(rng: random.Random) -> Variants:
    table, archive, arrow, columns = make_table(rng), io.BytesIO(), io.BytesIO(), io.BytesIO()
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
        "arrow": arrow.getvalue(), "orc": columns.getvalue(), "packed": gzip.compress(make_file(table), mtime=0),
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
    yield from ((label, make_file(make_table(rng, 20))) for label in labels)


def _good(rng: random.Random) -> Variants:
    table = make_table(rng)
    text, codes = table["body"].combine_chunks(), pa.array([0, 1] * 100, pa.int8())
    words = {"small": ["good", "bad"], "unused": ["good", "bad", "neither", ""]}
    bodies = {label: pa.DictionaryArray.from_arrays(codes, values) for label, values in words.items()}
    bodies |= {"large": text.cast(pa.large_string()), "view": text.cast(pa.string_view()), "one": ["a good pie"] * 200}
    bodies |= {"dictionary": text.dictionary_encode(), "json": pa.array(['{"a": "good"}'] * 200, pa.json_())}
    yield from ((f"text-{label}", make_file(make_table(rng, body=values))) for label, values in bodies.items())
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
    yield from ((label, make_file(table, **chosen)) for label, chosen in options.items())
    yield "required", make_file(table.cast(pa.schema([field.with_nullable(False) for field in table.schema])))
    yield from (
        (f"only-{len(names)}", make_file(table.select(names))) for names in (["body"], table.column_names[::-1])
    )


KINDS: dict[str, tuple[Callable[[random.Random], Variants], bool]] = {
    "empty": (empty_variants, True),
    "truncated": (truncated_variants, True),
    "footer-length": (footer_length_variants, True),
    "flipped-pages": (flipped_variants("pages"), False),
    "flipped-headers": (flipped_variants("headers"), False),
    "flipped-footer": (flipped_variants("footer"), False),
    "flipped-statistics": (statistics_variants, False),
    "random-bytes": (random_bytes_variants, True),
    "corrupt-row-group": (corrupt_row_group_variants, False),
    "short-column": (short_column_variants, False),
    "wrong-codec": (codec_variants, False),
    "checksum": (checksum_variants, False),
    "footer-lie": (footer_lies_variants, False),
    "schema-lie": (schema_lies_variants, False),
    "page-lie": (page_lies_variants, False),
    "footer-bomb": (footer_bombs_variants, True),
    "text-missing": (_text_missing, True),
    "text-retyped": (_text_retyped, True),
    "column-twice": (_twice, False),
    "other-columns": (_others, False),
    "no-rows": (_no_rows, False),
    "no-columns": (_no_columns, True),
    "texts": (_texts, False),
    "invalid-utf8": (_invalid_utf8, False),
    "bomb": (_bombs, False),
    "deep-and-wide": (_deep_and_wide, False),
    "colliding": (_colliding, False),
    "encrypted": (_encrypted, True),
    "other-format": (_other_formats, True),
    "not-a-file": (_not_files, True),
    "name": (_names, False),
    "good": (_good, False),
}
"""Every kind with its variants, and whether none of its files has a row that can be scored."""
