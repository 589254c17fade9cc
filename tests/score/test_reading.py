"""A unit's file is read in bounded chunks, a small row group once, and no farther than needed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.file_versions import make_file_info
from sentiment_ray.parquet_types import contains_strings
from sentiment_ray.score import reading
from sentiment_ray.score.chunks import CHUNK_BYTES, RowChunk, count_row_bytes, cut_batch
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.part import CrashingInputs, try_rows
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.reading import UnitFile, open_parquet, read_chunks
from sentiment_ray.store_location import open_location

MAX_ROW_BYTES = 1 << 20
WORDS = ["one", None, "three", "", "fünf"]
LISTS = [["one", "two"], None, [], [None, "five"], ["six" * 9]]
NESTED = {
    "strings": pa.array(WORDS),
    "bytes": pa.array([b"one", None, b"", b"four", b"5"]),
    "views": pa.array(WORDS, pa.string_view()),
    "categories": pa.array(WORDS).dictionary_encode(),
    "lists": pa.array(LISTS),
    "large lists": pa.array(LISTS, pa.large_list(pa.large_string())),
    "list views": pa.array(LISTS, pa.list_view(pa.string())),
    "pairs": pa.array([["a", "bc"], None, [None, ""], ["d", "e"], ["f", "ghi"]], pa.list_(pa.string(), 2)),
    "lists of lists": pa.array([[["a"], []], None, [], [["bc", None]], [None]]),
    "structs": pa.array([{"a": "x", "b": 1}, None, {"a": None, "b": 2}, {"a": "yy", "b": 3}, {"a": "", "b": 4}]),
    "lists of structs": pa.array([[{"a": "x", "b": ["y"]}], None, [], [{"a": "zz", "b": None}], [None]]),
    "maps": pa.array([[("k", "v")], None, [], [("key", None), ("l", "w")], []], pa.map_(pa.string(), pa.string())),
    "maps of numbers": pa.array([[("k", 1)], None, [], [("key", 2)], []], pa.map_(pa.string(), pa.int64())),
    "categories in lists": pa.ListArray.from_arrays([0, 2, 2, 3, 3, 5], pa.array(WORDS).dictionary_encode()),
}


def _count_by_hand(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count_by_hand, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_count_by_hand, value))
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0


@pytest.mark.parametrize("name", NESTED)
def test_the_strings_of_a_row_are_counted_at_any_depth(name: str) -> None:
    column = NESTED[name]
    for piece in (column, column.slice(1, 3), column.slice(2), column.slice(0, 0)):
        row_bytes = count_row_bytes(pa.record_batch([piece, pa.array(range(len(piece)))], names=["column", "number"]))
        assert row_bytes.tolist() == [_count_by_hand(value) for value in piece.to_pylist()]


def test_numbers_hold_no_strings_at_any_depth() -> None:
    for kind in (pa.int64(), pa.list_(pa.float32()), pa.struct([("a", pa.list_(pa.int8()))]), pa.decimal128(5)):
        assert not contains_strings(kind)
    assert contains_strings(pa.struct([("a", pa.list_(pa.dictionary(pa.int8(), pa.string())))]))


@pytest.fixture
def make_unit(tmp_path: Path) -> Callable[..., Unit]:
    def make(table: pa.Table, **options: Any) -> Unit:
        path = tmp_path / "in.parquet"
        parquet.write_table(table, path, **options)
        fs, inner = open_location(str(path))
        metadata = parquet.read_metadata(path)
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        return Unit(str(path), make_file_info(fs.info(inner)).version, "in.parquet", tuple(range(len(rows))), rows, 0)

    return make


def _read(unit: Unit) -> Iterator[RowChunk]:
    with open_parquet(unit) as file:
        yield from read_chunks(file, file.schema, unit, max_row_bytes=MAX_ROW_BYTES)


def test_nested_strings_bound_a_chunk(make_unit: Callable[..., Unit]) -> None:
    """A small file: each row has the same large string in a list, and one row a string that is too large."""
    tags = [["x" * 100_000]] * 3_000
    tags[7] = ["y" * (MAX_ROW_BYTES + 1)]
    table = pa.table({"text": ["good"] * len(tags), "tags": tags})
    unit = make_unit(table, compression="zstd", dictionary_pagesize_limit=8 << 20)
    assert Path(unit.path).stat().st_size < 100_000
    too_long: list[int] = []
    for chunk in _read(unit):
        assert chunk.table is not None
        assert chunk.table.nbytes <= CHUNK_BYTES + 1_000_000
        too_long += (chunk.first_row + np.flatnonzero(chunk.too_long)).tolist()
        tags_read = chunk.table["tags"].slice(0, 8).to_pylist()
        assert tags_read == [
            None if row == 7 else tags[row] for row in range(chunk.first_row, chunk.first_row + len(tags_read))
        ]
    assert too_long == [7]


@pytest.mark.parametrize("name", NESTED)
def test_a_row_group_is_read_once_with_the_values_of_a_plain_reader(
    name: str, make_unit: Callable[..., Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_ROWS", 7)
    column = pa.concat_arrays([NESTED[name]] * 6)
    unit = make_unit(pa.table({"text": ["good"] * 30, "column": column}), row_group_size=20)
    reads: list[list[int]] = []
    iter_batches = parquet.ParquetFile.iter_batches

    def count(file: parquet.ParquetFile, *sizes: int, row_groups: list[int], **options: Any) -> Any:
        reads.append(row_groups)
        return iter_batches(file, *sizes, row_groups=row_groups, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", count)
    chunks = list(_read(unit))
    assert [chunk.num_rows for chunk in chunks] == [7, 7, 6, 7, 3]
    assert [value for chunk in chunks for value in chunk.table["column"].to_pylist()] == column.to_pylist()  # type: ignore[index]
    assert reads == [[0], [1]]
    monkeypatch.setattr(reading, "KEPT_BYTES", 0)
    again = list(_read(unit))
    assert all(first.table.equals(second.table) for first, second in zip(chunks, again, strict=True))  # type: ignore[union-attr]
    assert reads[2:] == [[0], [0], [1], [1]]


def test_rows_too_long_are_dropped_before_they_are_decoded() -> None:
    for name, column in NESTED.items():
        if "views" in name:
            continue  # a unit's file is read without views
        batch = pa.record_batch([column], names=["column"])
        (chunk,) = cut_batch(batch, batch.schema, 0, 3)
        assert chunk.table is not None
        values = zip(column.to_pylist(), chunk.table["column"].to_pylist(), strict=True)
        assert [kept for value, kept in values if _count_by_hand(value) <= 3] == [
            value for value in column.to_pylist() if _count_by_hand(value) <= 3
        ]


def test_a_search_reads_no_farther_than_its_rows(
    make_unit: Callable[..., Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = make_unit(pa.table({"text": [f"text {row}" for row in range(50)]}), row_group_size=10)
    opened: list[int] = []
    check = reading.check_row_group

    def record(file: UnitFile, schema: pa.Schema, index: int, num_rows: int) -> Any:
        opened.append(index)
        return check(file, schema, index, num_rows)

    class Recorder:
        texts: list[str] = []

        def score(self, texts: list[str], **_: Any) -> None:
            self.texts += texts

    monkeypatch.setattr(reading, "check_row_group", record)
    config = ScoreConfig(bundle="b", input="i", output="o", tokens_per_batch=64)
    recorder: Any = Recorder()
    try_rows(unit, config, recorder, 5, 15, CrashingInputs())
    assert recorder.texts == [f"text {row}" for row in range(5, 15)]
    assert opened == [0, 1]
