"""`columns` copies columns of the sources into the splits, the rejected rows and beside the chat files."""

import datetime
import decimal
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.config.sections import load_config
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.copied_columns import COLUMN
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.data.readers import rows
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.labelled_rows import read_labelled, select_slice_columns
from sentiment_ray.input_files.listing import list_input
from sentiment_ray.manifest import read_json

LABELS = ("negative", "neutral", "positive")
DAY = datetime.date(2024, 1, 31)


def _write(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"text": ["good", "bad"], "label": ["positive", "negative"]} | columns
    pq.write_table(pa.table(columns), path, row_group_size=1)


def _read(*paths: Path, columns: str) -> tuple[dict[str, pa.DataType], list[dict[str, Any]]]:
    """Return the types of the columns to copy, and their values in every row that the readers yield."""
    sources = [{"path": str(path), "name": str(index)} for index, path in enumerate(paths)]
    config = PrepareConfig(output=str(paths[0].parent / "output"), sources=sources, columns=columns)
    config = resolve_paths(config)
    tasks = make_read_tasks(config, list_files(config))
    tables = [table for task in tasks for table in read_tables(task, config.sources[task.source_index])]
    struct = tables[0].schema.field(COLUMN).type
    return {field.name: field.type for field in struct}, pa.concat_tables(tables)[COLUMN].to_pylist()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None], pa.int16()), None),
        (pa.array([decimal.Decimal("1.50"), None], pa.decimal128(5, 2)), None),
        (pa.array([DAY, None], pa.date32()), None),
        (pa.array([1, None], pa.timestamp("ns", "UTC")), None),
        (pa.array([[1], None], pa.list_(pa.int8())), None),
        (pa.array([{"a": "x"}, None], pa.struct([("a", pa.string())])), None),
        (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())), None),
        (pa.array([b"\xff", None], pa.binary()), None),
        (pa.array(["a", None]).dictionary_encode(), pa.string()),
        (pa.array([["a"], None], pa.list_(pa.string_view())), pa.list_(pa.large_string())),
        (pa.nulls(2), pa.string()),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_column_of_parquet_files_keeps_its_type(
    tmp_path: Path, column: pa.Array, expected: pa.DataType | None
) -> None:
    _write(tmp_path / "a.parquet", product=column)
    types, values = _read(tmp_path / "a.parquet", columns="product")
    assert [str(kind) for kind in types.values()] == [str(expected or column.type).replace("item:", "element:")]
    assert [row["product"] for row in values] == column.to_pylist()


def test_types_of_parquet_files_are_widened(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", product=pa.array([1, 2], pa.int32()), day=pa.array([DAY, DAY]))
    _write(tmp_path / "b.parquet", day=pa.nulls(2), product=pa.array([2**40, None], pa.int64()))
    types, values = _read(tmp_path / "a.parquet", tmp_path / "b.parquet", columns="product,day")
    assert types == {"product": pa.int64(), "day": pa.date32()}
    assert values[2:] == [{"product": 2**40, "day": None}, {"product": None, "day": None}]


def test_with_text_files_every_column_is_a_string(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path / "a.parquet", product=[1, None], more=[[1.5], None], day=[DAY, DAY])
    (tmp_path / "b.csv").write_text("text, product ,label,day\ngood,007,positive,\nbad\n")
    lines = [
        {"text": "good", "label": "positive", "product": True, "more": {"é": [1]}},
        {"text": "bad", "product": "x"},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    types, values = _read(*(tmp_path / name for name in ("a.parquet", "b.csv", "c.jsonl")), columns="product,more,day")
    assert set(types.values()) == {pa.string()}
    assert values == [
        {"product": "1", "more": "[1.5]", "day": "2024-01-31"},
        {"product": None, "more": None, "day": "2024-01-31"},
        {"product": "007", "more": None, "day": ""},
        {"product": None, "more": None, "day": None},
        {"product": "true", "more": '{"é": [1]}', "day": None},
        {"product": "x", "more": None, "day": None},
    ]
    warnings = capsys.readouterr().err
    assert f"the column 'more' is missing from 1 of 3 files, such as {tmp_path}/b.csv" in warnings
    assert f"the column 'day' is missing from 1 of 3 files, such as {tmp_path}/c.jsonl" in warnings


def test_columns_of_the_path_and_of_chats_are_copied(tmp_path: Path) -> None:
    chat = {
        "messages": [{"role": "user", "content": "good"}, {"role": "assistant", "content": "positive"}],
        "product": 3,
    }
    (tmp_path / "in/day=2024-01-31").mkdir(parents=True)
    (tmp_path / "in/day=2024-01-31/a.jsonl").write_text(json.dumps(chat))
    _write(tmp_path / "in/day=__HIVE_DEFAULT_PARTITION__/b.parquet", product=[4, 5])
    types, values = _read(tmp_path / "in", columns="product,day")
    assert set(types.values()) == {pa.string()}
    assert values == [{"product": "3", "day": "2024-01-31"}, *({"product": each, "day": None} for each in ("4", "5"))]


def test_a_column_that_no_file_has_and_a_doubled_one_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", Product=[1, 2])
    with pytest.raises(DataError, match=r"columns: the column 'product' is missing .*Did you mean 'Product'\? No file"):
        _read(tmp_path / "a.parquet", columns="product")
    (tmp_path / "b.csv").write_text("text,label,product,product\ngood,positive,1,2\n")
    with pytest.raises(DataError, match="b.csv has 2 columns 'product'"):
        _read(tmp_path / "b.csv", columns="product")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("product,label", "'label' is a column that prepare_reviews writes itself. Rename it in the sources"),
        ("row", "'row' is a column that prepare_reviews writes itself"),
        ("product,product", "a column is named twice"),
    ],
)
def test_names_that_the_splits_have_are_refused(columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(PrepareConfig, "prepare", file=None, flags={"input": "a.csv", "output": "o", "columns": columns})


def test_large_values_make_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_TABLE_CHARACTERS", 1000)
    (tmp_path / "a.csv").write_text("text,label,product\n" + f"good,positive,{'x' * 300}\n" * 20)
    pq.write_table(pa.table({"text": ["a"] * 20, "label": ["positive"] * 20, "product": ["x" * 300] * 20}),
                   tmp_path / "b.parquet")  # fmt: skip
    for name in ("a.csv", "b.parquet"):
        config = PrepareConfig(output=str(tmp_path / "out"), input=str(tmp_path / name), columns="product")
        (task,) = make_read_tasks(config, list_files(config))
        assert {len(table) for table in read_tables(task, config.sources[0])} == {4}


def test_without_the_key_nothing_changes(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", product=[1, 2])
    config = PrepareConfig(output=str(tmp_path / "out"), input=str(tmp_path / "a.parquet"))
    assert "columns" not in config.model_dump(mode="json")
    (task, _) = make_read_tasks(config, list_files(config))
    assert next(read_tables(task, config.sources[0])).schema == rows.SCHEMA


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """Reviews with a product, a rating and a time: with defects, duplicates, copies and altered copies."""
    directory = tmp_path_factory.mktemp("copied")
    texts = [f"Review number {number}" for number in range(120)]
    good = {
        "text": texts, "label": [LABELS[min(number % 5, 2)] for number in range(120)],
        "product": [f"p{number % 4}" for number in range(120)], "rating": pa.array(range(120), pa.int16()),
        "time": pa.array([1_700_000_000_000_000 + number for number in range(120)], pa.timestamp("us")),
    }  # fmt: skip
    _write(directory / "in/a.parquet", **good)
    _write(directory / "in/b.parquet", text=["", texts[0].upper()], label=["neutral", "negative"],
           product=["broken", "later"], rating=pa.array([7, 8], pa.int16()))  # fmt: skip
    keys: dict[str, Any] = {"balance": "over", "augment": {"share": 0.5}, "to_chat": str(directory / "chat")}
    prepare_reviews(
        PrepareConfig(output=str(directory / "out"), input=str(directory / "in"), columns="product,rating,time", **keys)
    )
    return directory


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(path.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_splits_copies_and_rejected_rows_have_the_columns_of_their_row(prepared: Path) -> None:
    (part, *_) = (prepared / "out/train").glob("*.parquet")
    assert pq.read_schema(part).names == ["id", "text", "label", "source", "product", "rating", "time"]
    assert pq.read_schema(part).field("rating").type == pa.int16()
    splits = {split: _rows(prepared / "out" / split) for split in SPLITS}
    made = [row for row in splits["train"] if "#" in row["id"]]
    assert {row["id"].partition("#")[2].partition("-")[0] for row in made} == {"copy", "augmented"}
    for row in chain(*splits.values()):
        number = int(row["id"].partition("#")[0].rpartition(":")[2])
        assert (row["product"], row["rating"]) == (f"p{number % 4}", number)
        assert row["time"].microsecond == number
    (rejected,) = _rows(prepared / "out/rejected")
    assert {name: rejected[name] for name in ("reason", "product", "rating", "time")} == {
        "reason": "empty text", "product": "broken", "rating": 7, "time": None,
    }  # fmt: skip
    assert read_json(prepared / "out/prepared.json")["config"]["columns"] == ["product", "rating", "time"]


def test_a_file_beside_each_chat_file_has_the_columns_of_its_lines(prepared: Path) -> None:
    for split in SPLITS:
        lines = [json.loads(line) for line in (prepared / f"chat/{split}.jsonl").read_text().splitlines()]
        columns = pq.read_table(prepared / f"chat/{split}.columns.parquet")
        assert columns.column_names == ["id", "product", "rating", "time"]
        assert [set(line) for line in lines] == [{"messages"}] * len(columns)
        texts = {row["id"]: row["text"] for row in _rows(prepared / "out" / split)}
        assert [line["messages"][0]["content"] for line in lines] == [texts[row] for row in columns["id"].to_pylist()]


def test_evaluation_finds_the_columns_to_slice_by(prepared: Path) -> None:
    config = EvaluateConfig(bundle="b", input=str(prepared / "out"), output="o", slice_by="product,rating")
    files = list_input(config.input, label="input", formats=("parquet",), splits=("test",)).files
    labelled = read_labelled(files, config, LABELS)
    columns = select_slice_columns(labelled.table, config)
    assert set(columns) == {"product", "rating"}
    assert set(columns["product"]) <= {"p0", "p1", "p2", "p3"}
