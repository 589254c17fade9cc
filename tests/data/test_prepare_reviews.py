"""prepare_reviews with Ray: what becomes of each row, and what stops the job."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.data import first_labels, prepare
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.data.shuffle import collect_rows
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.data.split_tasks import write_splits
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import read_json

LABELS = ("negative", "neutral", "positive")
EVERYDAY = Path(__file__).parents[2] / "jobs" / "configs" / "everyday.jsonl"
CANARY = "canary-7f3a"

pytestmark = pytest.mark.usefixtures("ray_cluster")


def reviews(count: int, *, start: int = 0) -> list[tuple[str, str]]:
    """Return different texts with the labels in turn."""
    return [(f"Review number {number}", LABELS[number % 3]) for number in range(start, start + count)]


def write(path: Path, rows: Iterable[tuple[Any, Any]], *, names: tuple[str, str] = ("text", "label")) -> str:
    """Write pairs in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    if path.suffix == ".parquet":
        columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
        pq.write_table(pa.table(columns), path, row_group_size=50)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([names, *rows])
    return str(path)


def run(output: Path, *sources: Any, **keys: Any) -> dict[str, Any]:
    """Prepare sources, given as paths or as keys of a source, and return the manifest."""
    described = [{"path": source} if isinstance(source, str) else source for source in sources]
    result = prepare_reviews(PrepareConfig.model_validate({"output": str(output), "sources": described, **keys}))
    manifest = read_json(output / "prepared.json")
    assert result == {"output": str(output), "counts": manifest["counts"], "skipped": result["skipped"]}
    assert_accounted(output, manifest)
    return manifest | {"skipped": result["skipped"]}


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def splits_of(output: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: rows_of(output / split) for split in SPLITS}


def split_by_text(output: Path) -> dict[str, str]:
    return {row["text"]: split for split, rows in splits_of(output).items() for row in rows}


def assert_accounted(output: Path, manifest: dict[str, Any]) -> None:
    """Assert that the counts in the manifest agree with the files and with each other."""
    counts, outcomes = manifest["counts"], (*SPLITS, "duplicates", "conflicting", "rejected")
    for each in (counts, *manifest["by_source"].values()):
        assert each["rows_in"] == sum(each[outcome] for outcome in outcomes)
    for name, count in counts.items():
        assert count == sum(each[name] for each in manifest["by_source"].values())
    for split, rows in splits_of(output).items():
        assert len(rows) == counts[split] == sum(manifest["by_split"][split].values())
    assert sum(manifest["by_label"].values()) == sum(counts[split] for split in SPLITS)
    assert len(rows_of(output / "rejected")) == counts["rejected"] == sum(manifest["rejected_reasons"].values())


def bytes_of(output: Path, *, without: tuple[str, ...] = ("prepared.json", "report.html")) -> dict[str, str]:
    files = (path for path in output.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_sources_of_all_formats_with_their_own_columns_and_labels(tmp_path: Path) -> None:
    """Texts and labels do not depend on the format, the columns and the spelling of labels in the source."""
    rows = [reviews(90, start=start) for start in (0, 100, 200, 300)]
    stars = {"negative": 1.0, "neutral": 3.0, "positive": 5.0}
    chat = [{"role": "user", "content": None}, {"role": "assistant", "content": None}]
    chats = [[dict(chat[0], content=text), dict(chat[1], content=label.title())] for text, label in rows[3]]
    manifest = run(
        tmp_path / "out",
        write(tmp_path / "a.csv", rows[0]),
        {
            "path": write(tmp_path / "b.tsv", rows[1], names=("body", "mood")),
            "text_column": "body",
            "label_column": "mood",
        },
        {
            "path": write(
                tmp_path / "c.parquet", [(text, stars[label]) for text, label in rows[2]], names=("t", "stars")
            ),
            "text_column": "t",
            "label_column": "stars",
            "label_map": {1: "negative", 3: "neutral", 5: "positive"},
        },
        {
            "path": write(tmp_path / "d.jsonl", [(chat, "") for chat in chats], names=("messages", "x")),
            "format": "chat",
        },
    )
    splits = splits_of(tmp_path / "out")
    actual = {(row["text"], row["label"], row["source"]) for rows in splits.values() for row in rows}
    assert actual == {(*row, name) for name, source in zip("abcd", rows, strict=True) for row in source}
    assert manifest["counts"]["rows_in"] == 360
    assert manifest["by_label"] == dict.fromkeys(LABELS, 120)
    assert pq.read_schema(tmp_path / "out" / "train" / "part-00000.parquet").names == ["id", "text", "label", "source"]
    assert [source["files"] for source in manifest["sources"]] == [1, 1, 1, 1]


def test_defective_rows_are_rejected_with_file_row_and_reason(tmp_path: Path) -> None:
    bad = [
        (None, "positive"),
        ("  ", "positive"),
        ("fine", None),
        ("fine", "mixed"),
        ("fine", "mixed"),
        (CANARY, "x" * 50),
    ]
    path = write(tmp_path / "a.jsonl", [*reviews(180), *bad])
    with open(path, "ab") as file:
        file.write(b'{"text": "half\n{"text": "\xff"}\n')
    manifest = run(tmp_path / "out", path)
    assert manifest["counts"]["rejected"] == 8
    assert manifest["rejected_reasons"] == {
        "label 'mixed' is not in labels": 2,
        "label is not in labels (not quoted: it may be a review)": 1,
        "empty text": 1,
        "invalid UTF-8 (probably cp1252: set encoding)": 1,
        "not a JSON object": 1,
        "null label": 1,
        "null text": 1,
    }
    rejected = rows_of(tmp_path / "out" / "rejected")
    assert rejected[0] == {"source": "a", "file": path, "row": 181, "reason": "null text"}
    assert [row["row"] for row in rejected] == list(range(181, 189))


def test_too_many_defective_rows_stop_the_job_without_an_output(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(prepare, "MIN_TASK_BYTES", 1)
    path = write(tmp_path / "in" / "a.csv", [*reviews(90), *[(f"{CANARY} {n}", "mixed") for n in range(5)], ("", "x")])
    write(tmp_path / "in" / "b.csv", [(f"{CANARY} {n}", "mixed") for n in range(4)])
    with pytest.raises(DataError) as caught:
        run(tmp_path / "out" / "prepared", str(tmp_path / "in"))
    assert str(caught.value).startswith(
        "10 of 100 rows are defective, more than max_rejected = 0.05 allows "
        f"(label 'mixed' is not in labels: 9, first in {path}, row 92; empty text: 1, first in {path}, row 97)."
    )
    assert CANARY not in str(caught.value)
    assert names_in(tmp_path / "out") == set()
    assert run(tmp_path / "out" / "prepared", str(tmp_path / "in"), max_rejected=0.1)["counts"]["rejected"] == 10


def test_a_file_that_proves_damaged_stops_the_job_without_an_output(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(first_labels, "MAX_FIRST_FILES", 1)  # so that a task is the first to read the damaged file
    write(tmp_path / "in" / "a.parquet", reviews(300))
    content = bytearray((tmp_path / "in" / "a.parquet").read_bytes())
    content[60:400] = b"\xff" * 340
    (tmp_path / "in" / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match="b.parquet: row group 0 cannot be read"):
        run(tmp_path / "out" / "prepared", str(tmp_path / "in"))
    assert names_in(tmp_path / "out") == set()


def test_duplicates_and_conflicts_are_found_across_files_and_sources(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.csv", [*reviews(60), ("Twice", "positive"), ("Torn", "positive"), ("Torn", "positive")])
    write(tmp_path / "in" / "b.csv", [*reviews(60, start=100), ("  twice ", "positive"), ("Lone", "neutral")])
    second = write(tmp_path / "c.jsonl", [("TWICE", "positive"), ("torn", "negative"), ("TORN", "neutral")])
    manifest = run(tmp_path / "out", str(tmp_path / "in"), second)
    assert manifest["by_source"]["in"] | {"duplicates": 1, "conflicting": 2} == manifest["by_source"]["in"]
    assert manifest["by_source"]["c"] | {"duplicates": 1, "conflicting": 2} == manifest["by_source"]["c"]
    actual = split_by_text(tmp_path / "out")
    assert "Twice" in actual
    assert not {"  twice ", "TWICE", "Torn", "torn", "TORN"} & set(actual)

    manifest = run(tmp_path / "all", str(tmp_path / "in"), second, keep_duplicates=True)
    actual = split_by_text(tmp_path / "all")
    assert len({actual[text] for text in ("Twice", "  twice ", "TWICE")}) == 1
    assert (manifest["counts"]["duplicates"], manifest["counts"]["conflicting"]) == (0, 4)


def test_new_rows_never_move_old_ones(tmp_path: Path) -> None:
    old = write(tmp_path / "old.csv", reviews(200))
    run(tmp_path / "before", old)
    run(tmp_path / "after", write(tmp_path / "new.parquet", reviews(200, start=500)), old)
    before, after = split_by_text(tmp_path / "before"), split_by_text(tmp_path / "after")
    assert len(after) == 400
    assert before.items() <= after.items()


def test_a_source_with_a_fixed_split_goes_there_and_takes_equal_texts_with_it(tmp_path: Path) -> None:
    main = write(tmp_path / "main.csv", reviews(120))
    test = write(tmp_path / "held.csv", [(text.upper(), label) for text, label in reviews(30)])
    fixed = {"path": test, "split": "test"}
    train = {"path": write(tmp_path / "more.csv", reviews(20, start=20)), "split": "train"}
    manifest = run(tmp_path / "out", main, train, fixed, test_share=0)
    actual = split_by_text(tmp_path / "out")
    assert {text for text, split in actual.items() if split == "test"} == {text for text, _ in reviews(30)}
    assert all(actual[text] == "train" for text, _ in reviews(10, start=30))
    assert manifest["counts"]["duplicates"] == 50


def test_a_share_of_a_source_is_selected_by_text_and_the_rest_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [*reviews(600), *[("", "positive")] * 40])
    half = run(tmp_path / "half", {"path": path, "share": 0.5}, max_rejected=0.5)
    counts = half["counts"]
    assert counts["rows_in"] + counts["left_out"] == 640
    assert 240 < counts["rows_in"] - counts["rejected"] < 360
    whole = run(tmp_path / "whole", path, max_rejected=0.5)
    assert whole["counts"]["left_out"] == 0
    assert split_by_text(tmp_path / "half").items() <= split_by_text(tmp_path / "whole").items()


def test_a_finished_result_is_kept_and_replaced_only_with_restart(tmp_path: Path) -> None:
    output, path = tmp_path / "out", write(tmp_path / "a.csv", reviews(120))
    assert run(output, path)["skipped"] is False
    before = bytes_of(output, without=())
    assert run(output, path)["skipped"] is True
    os.utime(path, (1, 1))  # touched, with the same bytes
    assert run(output, path)["skipped"] is True
    assert bytes_of(output, without=()) == before
    with pytest.raises(
        ConfigError, match="already exists and holds a result of another input or configuration.*--restart"
    ):
        run(output, path, seed=1)
    assert bytes_of(output, without=()) == before
    assert run(output, path, seed=1, restart=True)["skipped"] is False
    assert bytes_of(output) != {
        name: digest for name, digest in before.items() if name not in ("prepared.json", "report.html")
    }
    write(tmp_path / "a.csv", reviews(121))
    with pytest.raises(ConfigError, match="already exists"):
        run(output, path, seed=1)
    assert names_in(tmp_path) == {"a.csv", "out"}


def test_the_same_input_gives_the_same_bytes_with_any_number_of_tasks(tmp_path: Path, monkeypatch: Any) -> None:
    sources = [write(tmp_path / "in" / f"{name}.parquet", reviews(300, start=100 * name)) for name in range(3)]
    settings = PrepareConfig(output=str(tmp_path / "ray"), sources=[{"path": path} for path in sources])
    monkeypatch.setattr(prepare, "MIN_TASK_BYTES", 1)
    run(tmp_path / "ray", *sources)
    run(tmp_path / "again", *sources)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "again")

    config = resolve_paths(settings)
    (tmp_path / "alone").mkdir()
    job = PrepareJob(config, tmp_path / "alone", num_buckets=2)
    tasks = make_read_tasks(config, list_files(config))
    files = [file for number in range(3) for file in collect_rows(job, number, tasks[number::3]).bucket_files]
    for bucket in range(2):
        write_splits(job, bucket, files[::-1])
    alone = {name: digest for name, digest in bytes_of(tmp_path / "alone").items() if not name.startswith("_")}
    assert alone == bytes_of(tmp_path / "ray")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "hold no rows"),
        (reviews(2), "has no row to train on"),
        (
            [(text, "positive" if label == "neutral" else label) for text, label in reviews(200)],
            r"The label 'neutral' has no row to train on \(found: negative \d+, neutral 0, positive \d+\).*"
            "--labels negative,positive",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path / "out" / "prepared", write(tmp_path / "a.csv", rows))
    assert names_in(tmp_path / "out") == set()


def test_many_different_reasons_become_fifty_and_a_sum(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", reviews(200))
    with open(path, "a") as file:
        file.writelines("x" + "," * (2 + n % 120) + "\n" for n in range(240))
    reasons = run(tmp_path / "out", path, max_rejected=1)["rejected_reasons"]
    assert len(reasons) == 51
    assert reasons["other"] == 140


def test_all_everyday_sentences_are_good(tmp_path: Path) -> None:
    counts = run(tmp_path / "out", {"path": str(EVERYDAY), "format": "chat"})["counts"]
    assert counts["rows_in"] == sum(counts[split] for split in SPLITS) > 300
