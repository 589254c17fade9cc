"""Sources as people have them: compressed, partitioned, with several text columns, with ratings and grades."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from sentiment_ray.config.sections import load_config
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.data.validate import check_rows
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.score.chunks import RowChunk, extract_texts

ROWS = [("A fine day.", "positive"), ('She said "no",\nand left.', "negative"), ("Ärger 🙂\u2028ja", "neutral")]
LABELS = ("negative", "neutral", "positive")


def read(path: Path | str, **keys: Any) -> list[dict[str, Any]]:
    """Return all checked rows of a source as dictionaries."""
    source = {"path": str(path), "name": "s", **keys}
    config = resolve_paths(PrepareConfig(output=str(Path(path).parent / "output"), sources=[source]))
    (source,) = config.sources
    tables = [
        check_rows(raw, source=source, labels=LABELS)
        for task in make_read_tasks(config, list_files(config))
        for raw in read_tables(task, source)
    ]
    return [row for table in tables for row in table.to_pylist()]


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    assert [row["reason"] for row in rows] == [None] * len(rows)
    return [(row["text"], row["label"]) for row in rows]


def write_zst(path: Path, content: bytes) -> Path:
    with pa.output_stream(path, compression="zstd") as stream:
        stream.write(content)
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_zstandard_files_of_every_text_format(tmp_path: Path, mark: bytes) -> None:
    for delimiter, name in ((",", "a.csv"), ("\t", "a.tsv")):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *ROWS])
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    said = [[{"role": "user", "content": text}, {"role": "assistant", "content": label}] for text, label in ROWS]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in said))
    for path in sorted(tmp_path.iterdir()):
        packed = write_zst(tmp_path / f"{path.name}.zst", mark + path.read_bytes())
        keys = {"format": "chat"} if path.stem == "chat" else {"quote": '"'} if path.suffix == ".tsv" else {}
        assert pairs(read(packed, **keys)) == ROWS, path.name


def test_a_large_zstandard_file_of_several_frames_is_read_to_its_end(tmp_path: Path) -> None:
    lines = [f"Review number {number} {'x' * (number % 97)},neutral\n" for number in range(60_000)]
    first = write_zst(tmp_path / "1", ("text,label\n" + "".join(lines[:30_000])).encode()).read_bytes()
    (tmp_path / "a.csv.zst").write_bytes(
        first + write_zst(tmp_path / "2", "".join(lines[30_000:]).encode()).read_bytes()
    )
    assert [f"{text},{label}\n" for text, label in pairs(read(tmp_path / "a.csv.zst"))] == lines


def test_partition_keys_are_columns(tmp_path: Path) -> None:
    """PyArrow percent-encodes the spaces and umlauts in directory names."""
    stars = {"positive": "5 stars", "negative": "schlecht/übel", "neutral": "so so"}
    table = pa.table({"text": [text for text, _ in ROWS], "stars": [stars[label] for _, label in ROWS]})
    ds.write_dataset(table, tmp_path / "in", format="parquet", partitioning=["stars"], partitioning_flavor="hive")
    source = {"label_column": "stars", "label_map": {value: label for label, value in stars.items()}}
    for path in (tmp_path / "in", f"{tmp_path}/in/*/*.parquet"):
        assert sorted(pairs(read(path, **source))) == sorted(ROWS)
    assert sorted(row["id"] for row in read(tmp_path / "in", **source))[0].startswith("s/stars=5%20stars/part-0")


def test_a_column_of_the_file_has_precedence_over_its_path_and_a_null_partition_is_null(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "label=positive" / "a.parquet", text=["fine"], label=["negative"])
    write_parquet(tmp_path / "in" / "label=neutral" / "b.parquet", text=["so so"])
    write_parquet(tmp_path / "in" / "label=__HIVE_DEFAULT_PARTITION__" / "c.parquet", text=["hm"])
    (tmp_path / "in" / "label=positive" / "d.csv").write_text("text\ngreat\n")
    (tmp_path / "in" / "label=positive" / "e.jsonl").write_text(
        '{"text": "good"}\n{"text": "bad", "label": "negative"}\n'
    )
    actual = {row["text"]: row["label"] or row["reason"] for row in read(tmp_path / "in")}
    expected = {"fine": "negative", "so so": "neutral", "hm": "null label", "great": "positive", "good": "positive"}
    assert actual == expected | {"bad": "negative"}


def test_a_partition_key_above_the_source_is_no_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "label=positive" / "a.parquet", text=["fine"])
    with pytest.raises(DataError, match=r"the column 'label' is missing \(found: 'text'\)"):
        read(path)


def test_several_text_columns_are_joined_as_scoring_joins_them(tmp_path: Path) -> None:
    cells = [
        ("Great", "Works."),
        (None, "Works."),
        ("Great", ""),
        (" ", "Works."),
        (None, None),
        ("", None),
        ("", " \t"),
    ]
    titles, bodies = zip(*cells, strict=True)
    labels = ["positive"] * len(cells)
    rows = read(
        write_parquet(tmp_path / "a.parquet", title=titles, body=bodies, label=labels), text_column="title,body"
    )
    table = pa.table({"title": titles, "body": bodies})
    scored, reasons = extract_texts(
        RowChunk(0, len(cells), table, pa.nulls(0).to_numpy(zero_copy_only=False)), ["title", "body"]
    )
    assert [row["text"] if row["reason"] is None else None for row in rows] == scored
    assert [row["text"] for row in rows[:4]] == ["Great\nWorks.", "Works.", "Great", "Works."]
    assert {index: row["reason"] for index, row in enumerate(rows) if row["reason"]} == {
        4: "null text", 5: "empty text", 6: "empty text"
    }  # fmt: skip
    assert set(reasons) == {4, 5, 6}


def test_text_files_can_have_several_text_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,body,title\npositive,Works.,Great\npositive,,Great\nneutral,,\n")
    values = [{"title": "Great", "body": "Works.", "label": "positive"}, {"title": "Great", "label": "positive"}]
    values += [{"label": "neutral"}, {"title": "Great", "body": 5, "label": "neutral"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    for name, expected in {
        "a.csv": ["Great\nWorks.", "Great", "empty text"],
        "a.jsonl": ["Great\nWorks.", "Great", "null text", "text is not a string"],
    }.items():
        rows = read(tmp_path / name, text_column=["title", "body"])
        assert [row["reason"] or row["text"] for row in rows] == expected
    with pytest.raises(DataError, match=r"the column 'subtitle' is missing \(found: 'label', 'body', 'title'\)"):
        read(tmp_path / "a.csv", text_column=["title", "subtitle"])


def test_one_flag_names_several_text_columns() -> None:
    flags = {"input": "a.csv", "text_column": "title, body", "output": "o"}
    (source,) = load_config(PrepareConfig, "prepare", file=None, flags=flags).sources
    assert source.text_column == ("title", "body")


@pytest.mark.parametrize("kind", [pa.float32(), pa.int8(), pa.decimal128(4, 2), pa.string(), pa.string_view()])
def test_grades_become_labels_by_cut_points(tmp_path: Path, kind: pa.DataType) -> None:
    grades = (
        pa.array(["1", "2", "3", "4", "5"]).cast(pa.float64() if kind != pa.string_view() else pa.string()).cast(kind)
    )
    path = write_parquet(tmp_path / "a.parquet", text=list("abcde"), label=grades)
    assert [label for _, label in pairs(read(path, cut_points=[2.5, 3.5]))] == [
        "negative", "negative", "neutral", "positive", "positive"
    ]  # fmt: skip


def test_a_cut_point_starts_the_next_label_and_other_values_than_numbers_are_rejected(tmp_path: Path) -> None:
    grades = ["2.49", "2.5", "3.5", "-1e300", " 3 ", "nan", "inf", "good", "I liked it a lot", "", "4,5", "true"]
    lines = [json.dumps({"text": f"t{index}", "label": grade}) for index, grade in enumerate(grades)]
    lines += ['{"text": "n", "label": NaN}', '{"text": "b", "label": true}', '{"text": "t", "label": 4}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = read(tmp_path / "a.jsonl", cut_points=[2.5, 3.5])
    assert [row["reason"] or row["label"] for row in rows] == [
        "negative", "neutral", "positive", "negative", "neutral",
        "label 'nan' is not a finite number", "label 'inf' is not a finite number",
        "label 'good' is not a finite number",
        "label is not a finite number (not quoted: it may be a review)", "null label",
        "label '4,5' is not a finite number", "label 'true' is not a finite number",
        "label 'nan' is not a finite number", "label 'true' is not a finite number", "positive",
    ]  # fmt: skip


def test_stars_map_ratings_to_labels(tmp_path: Path) -> None:
    stars = {"negative": [1, 2], "neutral": [3, 3.5], "positive": [4, 5]}
    path = write_parquet(tmp_path / "a.parquet", text=list("abcdef"), label=[1.0, 2.0, 3.5, 4.0, 5.0, 4.5])
    rows = read(path, stars=stars)
    assert [row["reason"] or row["label"] for row in rows] == [
        "negative", "negative", "neutral", "positive", "positive", "label '4.5' is not in stars"
    ]  # fmt: skip
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,3.0\nc,3.5\nd, 5 \n")
    assert [label for _, label in pairs(read(tmp_path / "a.csv", stars=stars))] == [
        "negative", "neutral", "neutral", "positive"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cut_points": [2.5]}, "cut_points of 'a.csv' must have 2 values for 3 labels"),
        ({"cut_points": [3.5, 2.5]}, "must rise from one to the next"),
        ({"cut_points": [2.5, 2.5]}, "must rise from one to the next"),
        ({"cut_points": [2.5, float("inf")]}, "must rise from one to the next"),
        ({"cut_points": [2.5, 3.5], "label_map": {1: "negative"}}, "'a.csv' sets both label_map and cut_points"),
        ({"stars": {"negative": [1]}, "label_map": {1: "negative"}}, "'a.csv' sets both label_map and stars"),
        ({"stars": {"negative": [1], "neutral": [1]}}, "stars of 'a.csv' names a rating twice"),
        ({"stars": {"bad": [1]}}, "stars of 'a.csv' maps '1' to 'bad', which is not in labels"),
        ({"text_column": []}, "text_column"),
    ],
)
def test_contradictory_label_mappings_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(PrepareConfig, "prepare", file=None, flags={"output": "o", "sources": [{"path": "a.csv", **keys}]})


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        ({"text": [1, 2]}, {}, "b.parquet: the column 'text' holds int64, not texts. No column holds texts"),
        ({"text": [1, 2], "body": ["a", "b"]}, {}, "int64, not texts. Pass --text-column, .*Texts are in: 'body'"),
        ({"text": [["a"], ["b"]]}, {}, "the column 'text' holds list<.*>, not texts"),
        (
            {"label": pa.array([1, None], pa.timestamp("ns"))},
            {},
            r"'label' holds timestamp\[ns\], not texts or numbers",
        ),
        ({"body": ["a", "b"], "text": None}, {}, r"b.parquet: the column 'text' is missing \(found: 'label', 'body'\)"),
    ],
)
def test_a_different_schema_in_the_second_file_is_named_with_file_and_column(
    tmp_path: Path, columns: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    good = {"text": ["a", "b"], "label": ["neutral", "neutral"]}
    write_parquet(tmp_path / "in" / "a.parquet", **good)
    held = {name: column for name, column in (good | columns).items() if column is not None}
    write_parquet(tmp_path / "in" / "b.parquet", **dict(sorted(held.items(), key=lambda item: item[0] != "label")))
    with pytest.raises(DataError, match=message):
        read(tmp_path / "in", **keys)


def test_the_files_of_a_source_may_have_different_text_types(tmp_path: Path) -> None:
    kinds = [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.null(),
    ]
    for index, kind in enumerate(kinds):
        text = pa.nulls(1) if pa.types.is_null(kind) else pa.array(["fine"]).cast(kind)
        write_parquet(tmp_path / "in" / f"{index}.parquet", text=text, label=["neutral"])
    assert [row["reason"] or row["text"] for row in read(tmp_path / "in")] == ["fine"] * 5 + ["null text"]


def test_an_unclosed_quote_costs_only_its_own_row(tmp_path: Path) -> None:
    rows = [f"Review {number},neutral" for number in range(50)]
    rows[7] = '"Great film,positive'
    rows[20] = '"Two lines\nin one",positive'
    rows[49] = '"never closed,positive'
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    actual = read(tmp_path / "a.csv")
    assert {row["row"]: row["reason"] for row in actual if row["reason"]} == {
        9: "not CSV: ',' expected after '\"'",
        52: "not CSV: unexpected end of data",
    }
    assert [row["row"] for row in actual] == [*range(2, 23), *range(24, 53)]
    assert actual[20]["text"] == "Two lines\nin one"
