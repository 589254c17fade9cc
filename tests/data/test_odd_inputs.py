"""Inputs that are easy to read wrong: long cells, spellings of numbers, links, file names."""

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checked_reviews import get_finding, make_reviews, prepare_sources, read_page, read_rows, write_csv

from jobs.prepare_reviews import prepare
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.label_mapping import map_label
from sentiment_ray.data.readers.delimited import MAX_CELL_CHARACTERS
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.manifest import read_json
from sentiment_ray.paths import check_output

needs_ray = pytest.mark.usefixtures("ray_cluster")


def read(path: Path, **keys: Any) -> list[dict[str, Any]]:
    source = {"path": str(path), "name": "s", **keys}
    by_group = {"split_by": "group"} if "group_column" in keys else {}
    config = resolve_paths(PrepareConfig(output=str(path.parent / "output"), sources=[source], **by_group))
    units = make_read_tasks(config, list_files(config))
    return [row for unit in units for table in read_tables(unit, config.sources[0]) for row in table.to_pylist()]


def test_a_field_of_many_lines_is_one_row(tmp_path: Path) -> None:
    long = "\n".join(f'line {number}, but the end is "bad"' for number in range(10_000))
    assert 131_072 < len(long) < MAX_CELL_CHARACTERS
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), (long, "positive"), ("after it", "negative")])
    assert [(row["text"], row["label"]) for row in read(tmp_path / "a.csv")] == [
        (long, "positive"), ("after it", "negative"),
    ]  # fmt: skip


def test_a_user_is_one_group_in_every_format_and_spelling(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,user\nfine,positive,101.0\nbad,negative,7a\nso so,neutral,-3.00\n")
    columns = {"text": ["fine", "bad", "so so"], "label": ["positive", "negative", "neutral"]}
    for name, users in (
        ("float", pa.array([101.0, None, -3.0])),
        ("short", pa.array([101.0, None, -3.0], pa.float32())),
    ):
        pq.write_table(pa.table(columns | {"user": users}), tmp_path / f"{name}.parquet")
    actual = [[row["group"] for row in read(tmp_path / name, group_column="user")]
             for name in ("a.csv", "float.parquet", "short.parquet")]  # fmt: skip
    assert actual == [["101", "7a", "-3"], ["101", None, "-3"], ["101", None, "-3"]]


def test_decimals_of_twenty_digits_stay_apart(tmp_path: Path) -> None:
    keys = [Decimal("12345678901234567891"), Decimal("12345678901234567892")]
    columns = {"text": ["fine", "bad"], "label": ["positive", "negative"], "key": pa.array(keys, pa.decimal128(20, 0))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet", id_column="key", group_column="key")
    assert [row["id"] for row in rows] == [row["group"] for row in rows] == list(map(str, keys))


@pytest.mark.parametrize("spelling", ["4.5", "4.50", " 4.5 ", "+4.5", "45e-1", "04.5"])
def test_any_spelling_of_a_rating_is_that_rating(spelling: str) -> None:
    assert map_label(spelling, ("bad", "good"), {"4.5": "good", "1": "bad"}) == "good"
    assert map_label("1.", ("bad", "good"), {"4.5": "good", "1": "bad"}) == "bad"
    assert map_label("4.55", ("bad", "good"), {"4.5": "good", "1": "bad"}) is None


def test_short_floats_are_the_ratings_that_a_person_wrote(tmp_path: Path) -> None:
    ratings = pa.array([3.7, 5.0, 1.0], pa.float32())
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": ratings}), tmp_path / "a.parquet")
    assert [map_label(row["label"], ("so",), {"3.7": "so", "5": "so", "1": "so"})
            for row in read(tmp_path / "a.parquet")] == ["so"] * 3  # fmt: skip


@needs_ray
def test_other_files_in_a_directory_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "in"
    (directory / "_logs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (directory / "linked").symlink_to(tmp_path / "elsewhere")
    (directory / "loop").symlink_to(directory)
    for name in ("_SUCCESS", ".hidden.csv", "_logs/x.csv", "part-00000", "notes.txt", "old.csv.xz"):
        (directory / name).write_text("text,label\nunread,positive\n")
    manifest = prepare_sources(
        tmp_path / "out", write_csv(directory / "a.csv", make_reviews(60)), near_duplicates=False
    )
    assert manifest["sources"][0]["passed_over"] == 0
    manifest = prepare_sources(tmp_path / "all", str(directory), near_duplicates=False)
    assert (manifest["counts"]["rows_in"], manifest["sources"][0]["passed_over"]) == (60, 5)
    assert manifest["sources"][0]["left_out_files"] == {
        "hidden_data": 1,
        "loops": 1,
        "markers": 2,
        "other_formats": 3,
        "names": [".hidden.csv", "loop", "notes.txt", "old.csv.xz", "part-00000"],
    }
    stderr = capsys.readouterr().err
    assert f"Not read in {directory}: other formats (3): notes.txt, old.csv.xz, part-00000;" in stderr


@needs_ray
def test_files_without_rows_are_named(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"a\.parquet\) hold no rows"):
        prepare_sources(tmp_path / "out", str(tmp_path / "a.parquet"))


@needs_ray
def test_a_check_and_a_restart_replace_reports_and_results_and_nothing_else(tmp_path: Path) -> None:
    path, output = write_csv(tmp_path / "a.csv", make_reviews(60)), tmp_path / "mine"
    output.mkdir()
    for name in ("report.json", "thesis.txt"):
        (output / name).write_text('{"mine": true}')
    config = {"output": str(output), "input": path, "near_duplicates": False}
    for keys in ({"check": True}, {"check": True, "restart": True}, {"restart": True}):
        with pytest.raises(ConfigError, match="holds more than a report of --check|holds no result with a prep"):
            prepare(PrepareConfig(**config, **keys))
    assert {each.name for each in output.iterdir()} == {"report.json", "thesis.txt"}
    config["output"] = str(tmp_path / "checked")
    for _ in range(2):
        prepare(PrepareConfig(**config, check=True))
    assert {each.name for each in (tmp_path / "checked").iterdir()} == {"report.html", "report.json"}


@needs_ray
def test_an_output_that_is_a_link_is_written_to_its_target(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    path = write_csv(tmp_path / "a.csv", make_reviews(60))
    prepare_sources(tmp_path / "link", path, near_duplicates=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/prepared.json").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {"a.csv", "disk", "link"}
    with pytest.raises(ConfigError, match="is a mount point"):
        check_output(Path("/"), replaces_directory=True)


@needs_ray
def test_a_share_also_applies_to_blank_rows(tmp_path: Path) -> None:
    rows = [*make_reviews(300), *((" " * (number % 3), "neutral") for number in range(300))]
    source = {"path": write_csv(tmp_path / "a.csv", rows), "share": 0.5}
    for seed in (0, 1, 2):
        actual = prepare_sources(
            tmp_path / str(seed), sources=[source], seed=seed, max_rejected=1.0, near_duplicates=False
        )["counts"]
        assert 110 < actual["rejected"] < 190
        assert actual["rows_in"] + actual["left_out"] == 600


@needs_ray
def test_rows_longer_than_max_tokens_are_counted_as_cut(tmp_path: Path, tiny_encoder: Path) -> None:
    rows = [*make_reviews(90), ("good " * 9000, "positive"), ("good " * 8190, "negative")]
    keys: dict[str, Any] = {"model": str(tiny_encoder), "near_duplicates": False, "suspect_rows": 10}
    path = write_csv(tmp_path / "a.csv", rows)
    assert get_finding(prepare_sources(tmp_path / "out", path, max_tokens=8192, **keys)["checks"], "cut")[0] == 1
    assert get_finding(prepare_sources(tmp_path / "less", path, max_tokens=8000, **keys)["checks"], "cut")[0] == 2


@needs_ray
def test_a_report_says_among_how_many_rows_leaked_ones_were_looked_for(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", make_reviews(300))
    (tmp_path / "chat.jsonl").write_text(
        "".join(
            json.dumps(
                {"messages": [{"role": "user", "content": f"RT @x {text}!"}, {"role": "assistant", "content": "?"}]}
            )
            + "\n"
            for text, _ in make_reviews(200)
        )
    )
    whole = prepare_sources(tmp_path / "whole", path, against=str(tmp_path / "chat.jsonl"))["checks"]
    assert get_finding(whole, "leaked") == (200, 300)
    part = prepare_sources(tmp_path / "part", path, against=str(tmp_path / "chat.jsonl"), near_duplicate_rows=100)[
        "checks"
    ]
    assert get_finding(part, "leaked")[0] < 200
    assert part["leaked"]["test_set_texts"] == 200
    assert (round(part["leaked"]["share_compared"], 2), part["leaked"]["share_of_test_set_compared"]) == (0.33, 0.5)
    assert "among 33 % of the rows and 50 % of the test set only" in read_page(tmp_path / "part").text


@needs_ray
def test_a_limit_that_could_not_be_checked_is_not_kept(tmp_path: Path, tiny_encoder: Path) -> None:
    rows = [*make_reviews(60)[::3], ("one of another label", "positive"), ("and one more of it", "neutral")]
    config = {"output": str(tmp_path / "out"), "input": write_csv(tmp_path / "a.csv", rows), "model": str(tiny_encoder),
              "limits": {"max_suspect_labels": 0.1}, "validation_share": 0, "test_share": 0}  # fmt: skip
    with pytest.raises(GateError, match="max_suspect_labels = 0.1, its check could not run"):
        prepare(PrepareConfig(**config, check=True))
    assert "its check could not run, allowed 0.1" in read_page(tmp_path / "out").text
    assert "not_run" in read_json(tmp_path / "out/report.json")["checks"]
    assert not any(read_rows(tmp_path / "out" / split) for split in SPLITS)
