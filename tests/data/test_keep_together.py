"""keep_together: each cluster of near duplicates is in one split, and new rows move no old ones."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from checked_reviews import LABELS, make_reviews, read_rows, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.leakage import compare_texts, write_signatures
from sentiment_ray.data.shuffle import collect_rows
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.data.split_tasks import write_splits


def split_without_ray(
    directory: Path, rows: Sequence[tuple[str, str]], fixed: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Split rows without Ray, near duplicates together; return the split of each text."""
    directory.mkdir()
    sources = [{"path": write_csv(directory / "main.csv", rows)}]
    if fixed:
        sources.append({"path": write_csv(directory / "held.csv", fixed), "split": "test"})
    settings = {"output": str(directory / "out"), "sources": sources, "keep_together": True, "test_share": 0.3}
    config = resolve_paths(PrepareConfig.model_validate(settings))
    (directory / "out").mkdir()
    job = PrepareJob(config, directory / "out", num_buckets=3)
    tasks = make_read_tasks(config, list_files(config))
    files = collect_rows(job, 0, tasks).bucket_files
    for bucket in range(3):
        write_signatures(job, bucket, files, 1.0, 1.0)
    compare_texts(job)
    for bucket in range(3):
        write_splits(job, bucket, files)
    return {row["text"]: split for split in SPLITS for row in read_rows(directory / "out" / split)}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 12))
def test_new_rows_outside_of_clusters_move_no_row(
    tmp_path_factory: pytest.TempPathFactory, old: list[tuple[int, int]], num_new: int
) -> None:
    directory = tmp_path_factory.mktemp("together")
    rows = [
        (f"{'RT @a ' * echo}{make_reviews(1, start=number)[0][0]}", LABELS[number % 3]) for number, echo in set(old)
    ]
    before = split_without_ray(directory / "before", rows)
    after = split_without_ray(directory / "after", [*make_reviews(num_new, start=1000), *rows])
    assert before.items() <= after.items()
    assert len(after) == len(before) + num_new
    by_cluster: dict[str, set[str]] = {}
    for text, split in before.items():
        by_cluster.setdefault(text.rpartition("RT @a ")[2], set()).add(split)
    assert all(len(splits) == 1 for splits in by_cluster.values())


def test_a_cluster_goes_to_the_split_of_its_fixed_row(tmp_path: Path) -> None:
    rows = make_reviews(40)
    split_by_text = split_without_ray(
        tmp_path / "a", rows, fixed=[(f"@bot {text}", label) for text, label in rows[:20]]
    )
    assert {split_by_text[text] for text, _ in rows[:20]} == {"test"}
    assert {split_by_text[text] for text, _ in rows[20:]} > {"test"}
