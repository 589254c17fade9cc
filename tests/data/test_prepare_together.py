"""Near duplicates that are kept together: one split a cluster, and no row moves when others are added."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from checked_reviews import LABELS, reviews, rows_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.leakage import compare_texts, write_signatures
from sentiment_ray.data.shuffle import Plan, collect, divide
from sentiment_ray.data.sources import check_files, list_files, resolve


def split_alone(
    directory: Path, rows: Sequence[tuple[str, str]], pinned: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Divide rows without Ray, near duplicates together; return the split of each text."""
    directory.mkdir()
    sources = [{"path": write(directory / "main.csv", rows)}]
    if pinned:
        sources.append({"path": write(directory / "held.csv", pinned), "split": "test"})
    settings = {"output": str(directory / "out"), "sources": sources, "keep_together": True, "test_share": 0.3}
    config = resolve(PrepareConfig.model_validate(settings))
    (directory / "out").mkdir()
    plan = Plan(config, directory / "out", num_buckets=3)
    units = check_files(config, list_files(config))
    files = collect(plan, 0, units).bucket_files
    for bucket in range(3):
        write_signatures(plan, bucket, files, 1.0, 1.0)
    compare_texts(plan)
    for bucket in range(3):
        divide(plan, bucket, files)
    return {row["text"]: split for split in SPLITS for row in rows_of(directory / "out" / split)}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 12))
def test_rows_that_join_no_cluster_move_no_row(
    tmp_path_factory: pytest.TempPathFactory, old: list[tuple[int, int]], num_new: int
) -> None:
    directory = tmp_path_factory.mktemp("together")
    rows = [(f"{'RT @a ' * echo}{reviews(1, start=number)[0][0]}", LABELS[number % 3]) for number, echo in set(old)]
    before = split_alone(directory / "before", rows)
    after = split_alone(directory / "after", [*reviews(num_new, start=1000), *rows])
    assert before.items() <= after.items()
    assert len(after) == len(before) + num_new
    by_cluster: dict[str, set[str]] = {}
    for text, split in before.items():
        by_cluster.setdefault(text.rpartition("RT @a ")[2], set()).add(split)
    assert all(len(splits) == 1 for splits in by_cluster.values())


def test_a_cluster_goes_where_one_of_its_rows_is_pinned(tmp_path: Path) -> None:
    rows = reviews(40)
    found = split_alone(tmp_path / "a", rows, pinned=[(f"@bot {text}", label) for text, label in rows[:20]])
    assert {found[text] for text, _ in rows[:20]} == {"test"}
    assert {found[text] for text, _ in rows[20:]} > {"test"}
