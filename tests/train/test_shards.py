"""Every worker count reads each row once in an epoch, and each epoch reads the rows in another order."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.train.shards import (
    PIECE_ROWS,
    ExactShards,
    Part,
    Source,
    build_datasets,
    count_rows,
    name_dataset,
    order_parts,
    plan_parts,
    read_tables,
    split_source,
)

NUM_ROWS = 3 * PIECE_ROWS + 100


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training rows in two files, one of which has row groups of more than a piece, and a few validation rows."""
    directory = tmp_path_factory.mktemp("reviews")
    for split, rows in (("train", NUM_ROWS), ("validation", 7)):
        (directory / split).mkdir()
        table = pa.table({"text": [f"{row}" for row in range(rows)], "label": ["good"] * rows})
        half = rows // 3
        parquet.write_table(table.slice(0, half), directory / split / "0.parquet", row_group_size=1000)
        parquet.write_table(table.slice(half), directory / split / "1.parquet")
    return directory


def _read(parts: list[Part], rank: int = 0, world_size: int = 1) -> list[str]:
    tables = list(read_tables(parts, 500, rank=rank, world_size=world_size))
    assert all(len(table) == 500 for table in tables[:-1])
    return [text for table in tables for text in table["text"].to_pylist()]


@pytest.mark.parametrize("world_size", [1, 2, 5])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_any_number_of_workers_reads_each_row_once_in_every_order(reviews: Path, order: int, world_size: int) -> None:
    parts = order_parts(plan_parts([split_source(reviews, "train")], seed=0), seed=0, order=order)
    shards = [_read(parts, rank, world_size) for rank in range(world_size)]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert sorted(int(text) for shard in shards for text in shard) == list(range(NUM_ROWS))


def test_every_epoch_has_an_order_of_its_own_which_the_seed_decides(reviews: Path) -> None:
    parts = plan_parts([split_source(reviews, "train")], seed=0)
    assert max(part.num_rows for part in parts) <= PIECE_ROWS
    orders = [[part.path.name + f" {part.row_group} {part.start}" for part in order_parts(parts, seed=3, order=order)]
              for order in range(4)]  # fmt: skip
    assert len({tuple(order) for order in orders}) == 4
    assert len({order[0] for order in orders}) > 1
    assert order_parts(parts, seed=3, order=0) == parts
    assert order_parts(parts, seed=3, order=2) == order_parts(parts, seed=3, order=2)
    assert order_parts(parts, seed=3, order=2) != order_parts(parts, seed=4, order=2)


def test_ray_reads_the_rows_of_a_worker_in_the_order_of_each_epoch(reviews: Path, ray_cluster: None) -> None:
    parts = {split: plan_parts([split_source(reviews, split)], seed=0) for split in ("train", "validation")}
    datasets = build_datasets(parts, num_orders=2)
    assert list(datasets) == ["train-0", "train-1", "validation"]
    shards = ExactShards(parts, seed=7).configure(datasets, 2, None, None)
    for rank, shard in enumerate(shards):
        for order in (0, 1):
            tables = shard[name_dataset("train", order)].iter_batches(batch_size=500, batch_format="pyarrow")
            texts = [text for table in tables for text in table["text"].to_pylist()]
            assert texts == _read(order_parts(parts["train"], seed=7, order=order), rank, 2)
        (table,) = shard["validation"].iter_batches(batch_size=500, batch_format="pyarrow")
        assert table["text"].to_pylist() == [f"{row}" for row in range(7)]


def test_a_share_of_zero_reads_no_rows(reviews: Path) -> None:
    assert plan_parts([split_source(reviews, "train", share=0.0)], seed=1) == []


@pytest.mark.parametrize("order", [0, 1, 5])
@pytest.mark.parametrize("world_size", [1, 3])
def test_the_rows_of_several_sources_are_mixed_and_each_comes_once(world_size: int, order: int, tmp_path: Path) -> None:
    sources = []
    for name, num_rows, group_rows in (("new", 1000, 400), ("scored", 3000, 3000)):
        table = pa.table({"text": [f"{name} {row}" for row in range(num_rows)], "label": ["good"] * num_rows})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=group_rows)
        sources.append(Source((tmp_path / f"{name}.parquet",)))
    parts = order_parts(plan_parts(sources, seed=1), seed=1, order=order)
    assert count_rows(parts) == 4000
    shards = [_read(parts, rank, world_size) for rank in range(world_size)]
    assert [len(texts) for texts in shards] == np.diff(np.arange(world_size + 1) * 4000 // world_size).tolist()
    texts = [text for shard in shards for text in shard]
    assert len(set(texts)) == len(texts) == 4000
    for start in range(0, 4000, 1000):
        assert 150 < sum(text.startswith("new") for text in texts[start : start + 1000]) < 350


def test_the_same_share_of_the_rows_is_drawn_each_time_and_in_every_order(reviews: Path) -> None:
    parts = plan_parts([split_source(reviews, "train", share=0.25)], seed=1)
    assert count_rows(parts) == round(NUM_ROWS * 0.25)
    assert parts == plan_parts([split_source(reviews, "train", share=0.25)], seed=1)
    first, second = (_read(order_parts(parts, seed=1, order=order)) for order in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second
