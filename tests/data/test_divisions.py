"""Splits by group, time and label, balance and augmentation: what holds whatever the rows are, shown without Ray."""

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
from sentiment_ray.data.counts import Summary, check_splits, summarise
from sentiment_ray.data.hashing import normalise
from sentiment_ray.data.prepare import with_tallies
from sentiment_ray.data.shuffle import Plan, collect, divide
from sentiment_ray.data.sources import check_files, list_files, resolve
from sentiment_ray.data.split import Settled, merge_pins

LABELS = ("negative", "positive")
FIRST_DAY = date(2024, 1, 1)
DAYS = {"validation_from": "2024-02-01", "test_from": "2024-02-20"}
KEYS: dict[str, dict[str, Any]] = {
    "hash": {},
    "stratified": {},
    "group": {"group_column": "user"},
    "time": {"time_column": "day", **DAYS},
}
SHARES = {"validation_share": 0.2, "test_share": 0.3}
Row = dict[str, Any]

quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def rows() -> st.SearchStrategy[list[Row]]:
    """Rows of few texts, users and days, so that texts come several times, with other users, days and labels."""
    row = st.fixed_dictionaries(
        {
            "text": st.integers(0, 40).map(lambda number: f"Review {number}"),
            "label": st.sampled_from((LABELS[0], LABELS[1], LABELS[1])),
            "user": st.integers(0, 12).map(str),
            "day": st.integers(0, 70).map(lambda day: (FIRST_DAY + timedelta(day)).isoformat()),
        }
    )
    return st.lists(row, min_size=1, max_size=60)


def run_here(function: Any, arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Any]:
    """Do in this process what run_tasks does on a cluster, last first: no order is promised there."""
    return [function(*each) for each in reversed(arguments)]


def divided(
    files: dict[str, list[Row]],
    *,
    tasks: int = 1,
    buckets: int = 2,
    order: int = 0,
    pin: str | None = None,
    **keys: Any,
) -> tuple[dict[str, list[Row]], Summary]:
    """Divide rows in files of these names; `pin` is one that is for the test, `order` one of the orders to read in."""
    with TemporaryDirectory() as directory:
        sources = []
        for name, lines in files.items():
            path = Path(directory, "in", f"{name}.jsonl")
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            pinned = {"split": "test", "group_column": keys.get("group_column")} if name == pin else {}
            sources.append({"path": str(path), "id_column": "id", **pinned})
        config = PrepareConfig.model_validate(
            {"output": f"{directory}/out", "labels": LABELS, "sources": sources, **SHARES, **keys}
        )
        return _divided(resolve(config), Path(directory), tasks, buckets, Random(order))


def _divided(
    config: PrepareConfig, directory: Path, tasks: int, buckets: int, random: Random
) -> tuple[dict[str, list[Row]], Summary]:
    plan = Plan(config, directory, num_buckets=buckets)
    units = random.sample(found := check_files(config, list_files(config)), len(found))
    collected = [collect(plan, number, units[number::tasks]) for number in range(tasks)]
    bucket_files = [path for part in collected for path in part.bucket_files]
    random.shuffle(bucket_files)
    plan = replace(plan, settled=Settled(merge_pins([pin for part in collected for pin in part.pinned_groups])))
    plan = with_tallies(plan, bucket_files, run_here)
    summary = summarise(config, collected, [divide(plan, bucket, bucket_files) for bucket in range(buckets)])
    counts = summary.counts
    lost = counts["duplicates"] + counts["conflicting"] + counts["undersampled"] + counts["rejected"]
    written = {split: _read(directory / split) for split in SPLITS}
    assert {split: len(lines) for split, lines in written.items()} == {split: counts[split] for split in SPLITS}
    assert sum(map(len, written.values())) + lost == counts["rows_in"] + counts["copies"] + counts["augmented"]
    return written, summary


def _read(directory: Path) -> list[Row]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def numbered(lines: list[Row], start: int = 0) -> list[Row]:
    return [line | {"id": str(number)} for number, line in enumerate(lines, start=start)]


def split_by_id(written: dict[str, list[Row]]) -> dict[str, str]:
    return {row["id"]: split for split, lines in written.items() for row in lines}


def assert_no_text_on_two_sides(written: dict[str, list[Row]]) -> None:
    texts = [{normalise(row["text"]) for row in lines} for lines in written.values()]
    assert sum(map(len, texts)) == len(set().union(*texts))


@quick
@given(lines=rows(), keep=st.booleans(), more=rows())
def test_no_group_and_no_text_is_on_two_sides(lines: list[Row], keep: bool, more: list[Row]) -> None:
    """Not even where some users wrote the same, or stand in a source that is for the test, too."""
    lines, held = numbered(lines), numbered(more[:10], start=1000)
    keys = {"split_by": "group", "keep_duplicates": keep, **KEYS["group"]}
    for files, pin in (({"a": lines}, None), ({"a": lines, "held": held}, "held")):
        written, _ = divided(files, pin=pin, **keys)
        assert_no_text_on_two_sides(written)
        users = {line["id"]: line["user"] for part in files.values() for line in part}
        sides = defaultdict(set)
        for identity, split in split_by_id(written).items():
            sides[users[identity]].add(split)
        assert all(len(found) == 1 for found in sides.values())
        if pin:
            assert {split for identity, split in split_by_id(written).items() if int(identity) >= 1000} <= {"test"}


@quick
@given(lines=rows(), keep=st.booleans())
def test_train_is_before_validation_is_before_test(lines: list[Row], keep: bool) -> None:
    written, _ = divided({"a": (lines := numbered(lines))}, split_by="time", keep_duplicates=keep, **KEYS["time"])
    assert_no_text_on_two_sides(written)
    day = {line["id"]: line["day"] for line in lines}
    ranges = {"train": ("", "2024-02-01"), "validation": ("2024-02-01", "2024-02-20"), "test": ("2024-02-20", "9")}
    for split, (first, end) in ranges.items():
        assert all(first <= day[row["id"]] < end for row in written[split])
    kept = {normalise(row["text"]): day[row["id"]] for part in written.values() for row in part}
    if not keep:
        assert all(kept.get(normalise(line["text"]), "") <= line["day"] for line in lines)


@pytest.mark.parametrize("split_by", ["hash", "group", "time"])
@quick
@given(lines=rows(), more=rows())
def test_rows_that_are_added_move_no_row_that_was_there(split_by: str, lines: list[Row], more: list[Row]) -> None:
    old, new = numbered(lines), numbered(more[: max(1, len(lines) // 10)], start=1000)
    keys = {"split_by": split_by, **KEYS[split_by]}
    before, after = (split_by_id(divided(files, **keys)[0]) for files in ({"a": old}, {"a": old, "b": new}))
    assert {identity: split for identity, split in before.items() if after.get(identity, split) != split} == {}
    torn = {line["text"] for line in old} & {line["text"] for line in new}
    gone = {line["text"] for line in old if line["id"] in before.keys() - after.keys()}
    assert gone <= torn


@pytest.mark.parametrize("split_by", KEYS)
@settings(quick, max_examples=6)
@given(lines=rows(), tasks=st.integers(1, 4), buckets=st.integers(1, 7), order=st.integers(0, 99))
def test_tasks_buckets_and_the_order_of_files_change_nothing(
    split_by: str, lines: list[Row], tasks: int, buckets: int, order: int
) -> None:
    lines = numbered(lines)
    files = {"a": lines[::3], "b": lines[1::3], "c": lines[2::3]}
    keys = {"split_by": split_by, "balance": "over", "augment": {"share": 0.5}, **KEYS[split_by]}
    found = [
        {split: sorted(map(str, part)) for split, part in divided(files, **keys, **how)[0].items()}
        for how in ({}, {"tasks": tasks, "buckets": buckets, "order": order})
    ]
    assert found[0] == found[1]


@quick
@given(sizes=st.tuples(st.integers(0, 60), st.integers(1, 60)), shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.49)))
def test_stratified_splits_have_each_label_in_its_share(sizes: tuple[int, int], shares: tuple[float, float]) -> None:
    lines = [
        {"text": f"{label} {n}", "label": label} for label, size in zip(LABELS, sizes, strict=True) for n in range(size)
    ]
    validation_share, test_share = shares
    _, summary = divided(
        {"a": numbered(lines)}, split_by="stratified", validation_share=validation_share, test_share=test_share
    )
    wanted = np.outer([1 - validation_share - test_share, validation_share, test_share], sizes)
    assert (np.abs(summary.by_split - wanted) <= 1).all()


def test_a_group_of_a_pinned_source_takes_its_rows_of_other_sources_along() -> None:
    lines = numbered([{"text": f"Text {n}", "label": LABELS[n % 2], "user": str(n % 20)} for n in range(200)])
    held = numbered([{"text": "Other", "label": "positive", "user": "3"}], start=1000)
    keys = {"split_by": "group", **KEYS["group"]}
    written, _ = divided({"a": lines, "held": held}, pin="held", validation_share=0.1, test_share=0.0, **keys)
    assert {row["id"] for row in written["test"]} == {"1000", *(str(n) for n in range(3, 200, 20))}


def test_of_equal_texts_the_earliest_stays_and_a_later_row_takes_nothing_away() -> None:
    lines = [{"text": "Same", "label": "positive", "day": day} for day in ("2024-02-25", "2024-01-05", "2024-02-10")]
    written, summary = divided({"a": numbered(lines)}, split_by="time", **KEYS["time"])
    assert (split_by_id(written), summary.counts["duplicates"]) == ({"1": "train"}, 2)


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
def test_rows_without_a_group_or_a_time_are_rejected_with_the_reason(split_by: str, value: Any, reason: str) -> None:
    column = {"group": "user", "time": "day"}[split_by]
    good = [{"text": f"Text {n}", "label": LABELS[n % 2], "user": n, "day": 1_706_000_000 + n} for n in range(10)]
    lines = numbered([*good, {"text": "Bad", "label": "positive", column: value}])
    _, summary = divided({"a": lines}, split_by=split_by, **KEYS[split_by])
    assert summary.reasons == Counter({reason: 1})


@pytest.mark.parametrize("kind", ["over", "under"])
@pytest.mark.parametrize("keep", [False, True])
def test_balance_gives_every_label_as_many_training_rows_and_held_out_rows_stay(kind: str, keep: bool) -> None:
    texts = [*(f"Bad {n}" for n in range(30)), *(f"Good {n // 2}" for n in range(200))]
    lines = numbered([{"text": text, "label": LABELS["Good" in text]} for text in texts])
    keys = {"keep_duplicates": keep, "split_by": "stratified"}
    plain, before = divided({"a": lines}, **keys)
    written, after = divided({"a": lines}, balance=kind, buckets=5, **keys)
    wanted = max(before.by_split[0]) if kind == "over" else min(before.by_split[0])
    assert after.by_split[0].tolist() == [wanted, wanted]
    assert [sorted(map(str, written[split])) for split in SPLITS[1:]] == [
        sorted(map(str, plain[split])) for split in SPLITS[1:]
    ]
    extra = [row for row in written["train"] if "#copy-" in row["id"]]
    assert len(extra) == after.counts["copies"] == max(0, 2 * wanted - before.counts["train"])
    assert after.counts["undersampled"] == max(0, before.counts["train"] - 2 * wanted)
    assert len({row["id"] for row in written["train"]}) == len(written["train"])
    check_splits(PrepareConfig(output="x", sources=[{"path": "x"}], labels=LABELS, **keys), after)


def test_altered_copies_are_marked_counted_and_never_equal_a_text_that_was_there() -> None:
    texts = [f"The film number {n} was really not wonderful" for n in range(300)]
    texts += [text.replace("The ", "") for text in texts]
    lines = numbered([{"text": text, "label": LABELS[place % 2]} for place, text in enumerate(texts)])
    written, summary = divided({"a": lines}, augment={"share": 0.4, "operations": ["drop_article", "typo"]})
    copies = {row["id"]: row["text"] for row in written["train"] if row["id"].endswith("#augmented")}
    assert not any("#" in row["id"] for split in SPLITS[1:] for row in written[split])
    originals = {row["id"]: row["text"] for row in written["train"]}
    assert len(copies) == summary.counts["augmented"]
    assert 0.2 < len(copies) / (len(originals) - len(copies)) < 0.45
    assert set(copies.values()).isdisjoint(texts)
    assert all("not" in text.split() for text in copies.values())
    assert all(originals[name.removesuffix("#augmented")] != text for name, text in copies.items())
    assert summary.by_split[0].sum() == len(originals)
