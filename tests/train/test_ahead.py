"""Work that is done ahead in a thread gives the same batches, hands on errors, and leaves no thread."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.train.ahead import compute_ahead
from sentiment_ray.train.batches import Batch, Chunk, training_batches
from sentiment_ray.train.loop import fine_tune
from tests.train.training import (
    CheckpointStore,
    Train,
    have_equal_weights,
    make_config,
    make_reader,
    make_task,
    make_worker,
)


def _list_threads() -> list[str]:
    """Return the threads that work ahead, once those that are about to end have ended."""
    gc.collect()
    end = time.monotonic() + 5
    while time.monotonic() < end and (names := [each.name for each in threading.enumerate() if "ahead" in each.name]):
        time.sleep(0.01)
    return names


def test_items_are_computed_in_their_order_by_one_other_thread_and_the_first_one_at_once() -> None:
    is_begun, threads = threading.Event(), set()

    def count() -> Iterator[int]:
        is_begun.set()
        for number in range(5):
            threads.add(threading.get_ident())
            yield number

    items = compute_ahead(count())
    assert is_begun.wait(5)
    assert list(items) == [0, 1, 2, 3, 4]
    assert len(threads - {threading.get_ident()}) == 1
    assert not _list_threads()


def test_one_item_is_computed_ahead_and_no_more() -> None:
    computed: list[int] = []
    items = compute_ahead(computed.append(number) or number for number in range(9))  # type: ignore[func-returns-value]
    assert (next(items), next(items)) == (0, 1)
    time.sleep(0.05)
    assert computed == [0, 1, 2]


def test_an_error_takes_the_place_of_its_item() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise DataError("the second item is damaged")

    items = compute_ahead(fail())
    assert next(items) == 1
    with pytest.raises(DataError, match="second item"):
        next(items)
    assert list(items) == []
    assert not _list_threads()


@pytest.mark.parametrize("num_taken", [0, 1, 2])
def test_an_iterator_that_is_dropped_leaves_no_thread(num_taken: int) -> None:
    items = compute_ahead(iter(range(1000)))
    assert [next(items) for _ in range(num_taken)] == list(range(num_taken))
    del items
    assert not _list_threads()


@pytest.fixture
def without_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which the rest of a test encodes in its own thread."""
    return lambda: monkeypatch.setattr("sentiment_ray.train.batches.compute_ahead", lambda items: items)


def _describe(batches: Iterator[Batch]) -> list[Any]:
    return [
        [batch.input_ids.tolist(), batch.owners.tolist(), batch.label_ids.tolist(), batch.num_tokens, batch.done]
        for batch in batches
    ]


@pytest.mark.parametrize("changes", [{}, {"rows_per_batch": 7}, {"num_batches": 30}, {"rows": ()}])
@pytest.mark.parametrize("after", [0.0, 0.2, 1 / 3, 0.5, 0.99])
def test_batches_are_those_of_one_thread_and_workers_agree_in_the_thread_of_the_caller(
    tiny_encoder: Path, without_thread: Callable[[], None], changes: dict[str, Any], after: float
) -> None:
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)
    rows, num_batches = changes.get("rows", (60, 45, 3)), changes.get("num_batches", 1)
    threads: list[int] = []

    def agree(counts: Any) -> Any:
        threads.append(threading.get_ident())
        return np.maximum(counts, num_batches)

    def build() -> list[Any]:
        chunks = (Chunk([f"{'tea ' * (row % 9)}{row}" for row in range(count)], np.arange(count)) for count in rows)
        return _describe(
            training_batches(
                chunks, encoder, num_chunks=3, tokens_per_batch=64, rows_per_batch=changes.get("rows_per_batch"),
                seed=(0, 1, 2), after=after, max_over_workers=agree, sum_over_workers=lambda counts: counts,
            )
        )  # fmt: skip

    ahead = build()
    without_thread()
    assert ahead == build() != []
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize("changes", [{}, {"passes_per_epoch": 2, "rows_per_batch": 5}])
def test_a_training_of_several_chunks_is_that_of_one_thread_also_when_it_resumes(
    train: Train, store: CheckpointStore, without_thread: Callable[[], None], monkeypatch: Any, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("sentiment_ray.train.loop.CHUNK_ROWS", 40)
    history = train(**changes, checkpoint_every_s=1e-6)
    ahead = store.checkpoints()
    within = [each for each in ahead if each.progress.done]
    assert len(within) >= 2
    assert train(within[len(within) // 2], **changes) == history
    resumed = store.checkpoints()[-1]
    without_thread()
    assert train(**changes) == history
    alone = store.checkpoints()[-1]
    assert have_equal_weights(alone, ahead[-1])
    assert have_equal_weights(alone, resumed)
    assert not _list_threads()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_stopping": 1, "epochs": 20, "learning_rate": 1e-12}, None),
        ({"learning_rate": 1e30}, "diverged"),
    ],
)
def test_a_training_that_stops_early_leaves_no_thread(
    train: Train, monkeypatch: Any, changes: dict[str, Any], message: str | None
) -> None:
    monkeypatch.setattr("sentiment_ray.train.loop.CHUNK_ROWS", 40)
    if message is None:
        assert len(train(**changes)) < 20
    else:
        with pytest.raises(ConfigError, match=message):
            train(**changes)
    assert not _list_threads()


def test_an_error_in_reading_ends_the_training_by_name(
    prepared: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment_ray.train.loop.CHUNK_ROWS", 40)
    read_chunks = make_reader(prepared)

    def break_third_chunk(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        for index, chunk in enumerate(read_chunks(split, num_rows, order)):
            if split == "train" and index == 2:
                raise DataError("part.parquet is damaged")
            yield chunk

    with pytest.raises(DataError, match=r"part\.parquet is damaged"):
        fine_tune(make_config(tiny_encoder), make_task(prepared), make_worker(break_third_chunk), None)
    assert not _list_threads()
