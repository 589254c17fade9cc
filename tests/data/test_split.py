"""Splits by hash, group, time and label, balance and augmentation: properties that hold for all rows, without Ray."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.counts import Counts, add_reports, check_splits
from sentiment_ray.data.hashing import normalise
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.prepare import add_global_counts
from sentiment_ray.data.shuffle import collect_rows
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.data.split import RULES, SplitContext, merge_fixed_groups
from sentiment_ray.data.split_tasks import write_splits

LABELS = ("negative", "positive")
FIRST_DAY = date(2024, 1, 1)
DAYS = {"validation_from": "2024-02-01", "test_from": "2024-02-20"}
KEYS: dict[str, dict[str, Any]] = {
    "hash": {},
    "stratified": {},
    "group": {"group_column": "user"},
    "time": {"time_column": "day", **DAYS},
}
MOVES_OLD_ROWS = ("stratified",)
SHARES = {"validation_share": 0.2, "test_share": 0.3}
Row = dict[str, Any]

quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def rows() -> st.SearchStrategy[list[Row]]:
    """Rows with few texts, users and days, so that equal texts come with different users, days and labels."""
    row = st.fixed_dictionaries(
        {
            "text": st.integers(0, 40).map(lambda number: f"{number % 7}th review {number}"),
            "label": st.sampled_from((LABELS[0], LABELS[1], LABELS[1])),
            "user": st.integers(0, 12).map(str),
            "day": st.integers(0, 70).map(lambda day: (FIRST_DAY + timedelta(day)).isoformat()),
        }
    )
    return st.lists(row, min_size=1, max_size=60)


def run_here(function: Any, arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Any]:
    """Replace run_tasks in this process. The last task runs first, since run_tasks promises no order."""
    return [function(*each) for each in reversed(arguments)]


def split_rows(
    files: dict[str, list[Row]],
    *,
    tasks: int = 1,
    buckets: int = 2,
    order: int = 0,
    test_file: str | None = None,
    **keys: Any,
) -> tuple[dict[str, list[Row]], Counts]:
    """Split the rows of some files. `test_file` is put into the test, `order` seeds the reading order."""
    with TemporaryDirectory() as directory:
        sources = []
        for name, lines in files.items():
            path = Path(directory, "in", f"{name}.jsonl")
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            fixed = {"split": "test", "group_column": keys.get("group_column")} if name == test_file else {}
            sources.append({"path": str(path), "id_column": "id", **fixed})
        config = PrepareConfig.model_validate(
            {"output": f"{directory}/out", "labels": LABELS, "sources": sources, **SHARES, **keys}
        )
        return _split_here(resolve_paths(config), Path(directory), tasks, buckets, Random(order))


def _split_here(
    config: PrepareConfig, directory: Path, tasks: int, buckets: int, random: Random
) -> tuple[dict[str, list[Row]], Counts]:
    job = PrepareJob(config, directory, num_buckets=buckets)
    read_tasks = make_read_tasks(config, list_files(config))
    random.shuffle(read_tasks)
    collected = [collect_rows(job, number, read_tasks[number::tasks]) for number in range(tasks)]
    bucket_files = [path for report in collected for path in report.bucket_files]
    random.shuffle(bucket_files)
    fixed_groups = merge_fixed_groups([fixed for report in collected for fixed in report.fixed_groups])
    job = add_global_counts(replace(job, split_context=SplitContext(fixed_groups)), bucket_files, run_here)
    counts = add_reports(config, collected, [write_splits(job, bucket, bucket_files) for bucket in range(buckets)])
    totals = counts.totals
    lost = totals["duplicates"] + totals["conflicting"] + totals["undersampled"] + totals["rejected"]
    written = {split: _read(directory / split) for split in SPLITS}
    assert {split: len(lines) for split, lines in written.items()} == {split: totals[split] for split in SPLITS}
    assert sum(map(len, written.values())) + lost == totals["rows_in"] + totals["copies"] + totals["augmented"]
    return written, counts


def _read(directory: Path) -> list[Row]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def numbered(lines: list[Row], start: int = 0) -> list[Row]:
    return [line | {"id": str(number)} for number, line in enumerate(lines, start=start)]


def split_by_id(written: dict[str, list[Row]]) -> dict[str, str]:
    return {row["id"]: split for split, lines in written.items() for row in lines}


def assert_no_text_in_two_splits(written: dict[str, list[Row]]) -> None:
    texts = [{normalise(row["text"]) for row in lines} for lines in written.values()]
    assert sum(map(len, texts)) == len(set().union(*texts))


@quick
@given(lines=rows(), keep=st.booleans(), more=rows())
def test_no_group_and_no_text_is_in_two_splits(lines: list[Row], keep: bool, more: list[Row]) -> None:
    """This holds even if users wrote the same text, or are also in a source that is put into the test."""
    lines, held_out = numbered(lines), numbered(more[:10], start=1000)
    keys = {"split_by": "group", "keep_duplicates": keep, **KEYS["group"]}
    for files, test_file in (({"a": lines}, None), ({"a": lines, "held": held_out}, "held")):
        written, _ = split_rows(files, test_file=test_file, **keys)
        assert_no_text_in_two_splits(written)
        users = {line["id"]: line["user"] for part in files.values() for line in part}
        splits = defaultdict(set)
        for row_id, split in split_by_id(written).items():
            splits[users[row_id]].add(split)
        assert all(len(each) == 1 for each in splits.values())
        if test_file:
            assert {split for row_id, split in split_by_id(written).items() if int(row_id) >= 1000} <= {"test"}


@quick
@given(lines=rows(), keep=st.booleans())
def test_training_rows_are_before_validation_rows_and_these_before_test_rows(lines: list[Row], keep: bool) -> None:
    written, _ = split_rows({"a": (lines := numbered(lines))}, split_by="time", keep_duplicates=keep, **KEYS["time"])
    assert_no_text_in_two_splits(written)
    day = {line["id"]: line["day"] for line in lines}
    ranges = {"train": ("", "2024-02-01"), "validation": ("2024-02-01", "2024-02-20"), "test": ("2024-02-20", "9")}
    for split, (first, end) in ranges.items():
        assert all(first <= day[row["id"]] < end for row in written[split])
    kept = {normalise(row["text"]): day[row["id"]] for part in written.values() for row in part}
    if not keep:
        assert all(kept.get(normalise(line["text"]), "") <= line["day"] for line in lines)


@pytest.mark.parametrize("split_by", KEYS)
@pytest.mark.parametrize("keep", [False, True])
@settings(quick, max_examples=6)
@given(lines=rows(), more=rows())
def test_no_text_is_in_two_splits(split_by: str, keep: bool, lines: list[Row], more: list[Row]) -> None:
    """Also if a source with the same texts is put into the test: then the texts are in the test alone."""
    keys = {"split_by": split_by, "keep_duplicates": keep, **KEYS[split_by]}
    held_out = numbered(more[:10], start=1000)
    written, counts = split_rows({"a": numbered(lines), "held": held_out}, test_file="held", **keys)
    assert_no_text_in_two_splits(written)
    if keep and RULES[split_by].is_by_text:
        assert counts.totals["duplicates"] == 0


@pytest.mark.parametrize("split_by", [name for name in KEYS if name not in MOVES_OLD_ROWS])
@quick
@given(lines=rows(), more=rows())
def test_new_rows_move_no_old_row(split_by: str, lines: list[Row], more: list[Row]) -> None:
    old, new = numbered(lines), numbered(more[: max(1, len(lines) // 10)], start=1000)
    keys = {"split_by": split_by, **KEYS[split_by]}
    before, after = (split_by_id(split_rows(files, **keys)[0]) for files in ({"a": old}, {"a": old, "b": new}))
    assert {row_id: split for row_id, split in before.items() if after.get(row_id, split) != split} == {}
    shared = {line["text"] for line in old} & {line["text"] for line in new}
    missing = {line["text"] for line in old if line["id"] in before.keys() - after.keys()}
    assert missing <= shared


@pytest.mark.parametrize("split_by", KEYS)
@settings(quick, max_examples=6)
@given(lines=rows(), tasks=st.integers(1, 4), buckets=st.integers(1, 7), order=st.integers(0, 99))
def test_the_number_of_tasks_and_buckets_and_the_order_of_files_change_nothing(
    split_by: str, lines: list[Row], tasks: int, buckets: int, order: int
) -> None:
    lines = numbered(lines)
    files = {"a": lines[::3], "b": lines[1::3], "c": lines[2::3]}
    keys = {"split_by": split_by, "balance": "over", "augment": {"share": 0.5}, **KEYS[split_by]}
    actual = [
        {split: sorted(map(str, part)) for split, part in split_rows(files, **keys, **how)[0].items()}
        for how in ({}, {"tasks": tasks, "buckets": buckets, "order": order})
    ]
    assert actual[0] == actual[1]


@quick
@given(sizes=st.tuples(st.integers(0, 60), st.integers(1, 60)), shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.49)))
def test_stratified_splits_give_each_label_its_share(sizes: tuple[int, int], shares: tuple[float, float]) -> None:
    lines = [
        {"text": f"{label} {n}", "label": label} for label, size in zip(LABELS, sizes, strict=True) for n in range(size)
    ]
    validation_share, test_share = shares
    _, counts = split_rows(
        {"a": numbered(lines)}, split_by="stratified", validation_share=validation_share, test_share=test_share
    )
    expected = np.outer([1 - validation_share - test_share, validation_share, test_share], sizes)
    assert (np.abs(counts.by_split - expected) <= 1).all()


def test_a_group_with_a_fixed_split_takes_its_rows_in_other_sources_with_it() -> None:
    lines = numbered([{"text": f"Text {n}", "label": LABELS[n % 2], "user": str(n % 20)} for n in range(200)])
    held_out = numbered([{"text": "Other", "label": "positive", "user": "3"}], start=1000)
    keys = {"split_by": "group", **KEYS["group"]}
    written, _ = split_rows(
        {"a": lines, "held": held_out}, test_file="held", validation_share=0.1, test_share=0.0, **keys
    )
    assert {row["id"] for row in written["test"]} == {"1000", *(str(n) for n in range(3, 200, 20))}


def test_the_earliest_of_equal_texts_is_kept() -> None:
    lines = [{"text": "Same", "label": "positive", "day": day} for day in ("2024-02-25", "2024-01-05", "2024-02-10")]
    written, counts = split_rows({"a": numbered(lines)}, split_by="time", **KEYS["time"])
    assert (split_by_id(written), counts.totals["duplicates"]) == ({"1": "train"}, 2)


@pytest.mark.parametrize(
    ("split_by", "value", "reason"),
    [
        ("group", None, "null group"),
        ("group", " ", "null group"),
        ("group", ["a"], "group is neither a string nor a number"),
        ("time", None, "null time"),
        ("time", "", "null time"),
        ("time", "yesterday", "time is neither a date (ISO 8601) nor seconds since 1970"),
        ("time", 1_700_000_000_000, "time is neither a date (ISO 8601) nor seconds since 1970"),
        ("time", True, "time is neither a date (ISO 8601) nor seconds since 1970"),
    ],
)
def test_rows_without_a_group_or_a_time_are_rejected(split_by: str, value: Any, reason: str) -> None:
    column = {"group": "user", "time": "day"}[split_by]
    good = [{"text": f"Text {n}", "label": LABELS[n % 2], "user": n, "day": 1_706_000_000 + n} for n in range(10)]
    lines = numbered([*good, {"text": "Bad", "label": "positive", column: value}])
    _, counts = split_rows({"a": lines}, split_by=split_by, **KEYS[split_by])
    assert counts.reasons == Counter({reason: 1})


@pytest.mark.parametrize("kind", ["over", "under"])
@pytest.mark.parametrize("keep", [False, True])
def test_balance_gives_all_labels_equal_training_rows_and_keeps_held_out_rows(kind: str, keep: bool) -> None:
    texts = [*(f"Bad {n}" for n in range(30)), *(f"Good {n // 2}" for n in range(200))]
    lines = numbered([{"text": text, "label": LABELS["Good" in text]} for text in texts])
    keys = {"keep_duplicates": keep, "split_by": "stratified"}
    plain, before = split_rows({"a": lines}, **keys)
    written, after = split_rows({"a": lines}, balance=kind, buckets=5, **keys)
    expected = max(before.by_split[0]) if kind == "over" else min(before.by_split[0])
    assert after.by_split[0].tolist() == [expected, expected]
    assert [sorted(map(str, written[split])) for split in SPLITS[1:]] == [
        sorted(map(str, plain[split])) for split in SPLITS[1:]
    ]
    extra = [row for row in written["train"] if "#copy-" in row["id"]]
    assert len(extra) == after.totals["copies"] == max(0, 2 * expected - before.totals["train"])
    assert after.totals["undersampled"] == max(0, before.totals["train"] - 2 * expected)
    assert len({row["id"] for row in written["train"]}) == len(written["train"])
    check_splits(PrepareConfig(output="x", sources=[{"path": "x"}], labels=LABELS, **keys), after)


def test_altered_copies_are_marked_and_counted_and_equal_no_source_text() -> None:
    texts = [f"The film number {n} was really not wonderful" for n in range(300)]
    texts += [text.replace("The ", "") for text in texts]
    lines = numbered([{"text": text, "label": LABELS[index % 2]} for index, text in enumerate(texts)])
    written, counts = split_rows({"a": lines}, augment={"share": 0.4, "operations": ["drop_article", "typo"]})
    copies = {row["id"]: row["text"] for row in written["train"] if row["id"].endswith("#augmented")}
    assert not any("#" in row["id"] for split in SPLITS[1:] for row in written[split])
    originals = {row["id"]: row["text"] for row in written["train"]}
    assert len(copies) == counts.totals["augmented"]
    assert 0.2 < len(copies) / (len(originals) - len(copies)) < 0.45
    assert set(copies.values()).isdisjoint(texts)
    assert all("not" in text.split() for text in copies.values())
    assert all(originals[name.removesuffix("#augmented")] != text for name, text in copies.items())
    assert counts.by_split[0].sum() == len(originals)
