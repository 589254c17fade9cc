"""A training that resumes from a checkpoint takes the steps that were still to come, bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.train import loop
from sentiment_ray.train.checkpoint import read_checkpoint
from tests.train.training import CheckpointStore, Train, copy_rows, have_equal_weights


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulation_steps": 3, "tokens_per_batch": 32},
        {"lora_rank": 2},
        {"layer_decay": 0.7},
        {"precision": "bf16"},
        {"rows_per_batch": 8, "passes_per_epoch": 2},
    ],
)
def test_a_training_resumed_from_any_checkpoint_ends_with_the_same_bits(
    train: Train, store: CheckpointStore, changes: dict[str, Any]
) -> None:
    if "lora_rank" in changes:
        pytest.importorskip("peft")
    expected = train(checkpoint_every_s=1e-6, **changes)
    checkpoints = store.checkpoints()
    within = [checkpoint for checkpoint in checkpoints if checkpoint.progress.done]
    assert within
    assert [line["epoch"] for line in expected] == [1, 2]
    after_first_epoch = next(checkpoint for checkpoint in checkpoints if checkpoint.position == (1, 0.0))
    for start in (within[0], within[-1], after_first_epoch):
        assert train(start, checkpoint_every_s=1e6, **changes) == expected
        assert have_equal_weights(store.checkpoints()[-1], checkpoints[-1])


def test_a_damaged_checkpoint_is_not_read(train: Train, store: CheckpointStore) -> None:
    train(epochs=1)
    (checkpoint,) = store.checkpoints()
    weights = checkpoint.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert read_checkpoint(checkpoint.path) is None
    weights.unlink()
    assert read_checkpoint(checkpoint.path) is None


def test_a_training_of_several_chunks_resumes_in_the_order_of_its_epoch(
    train: Train, store: CheckpointStore, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHUNK_ROWS", 40)
    monkeypatch.setattr(loop, "CHECK_CLOCK_EVERY_BATCHES", 1)
    reviews = copy_rows(prepared, tmp_path / "reviews", 130, group_rows=10)
    expected = train(reviews=reviews, epochs=3, checkpoint_every_s=1e-6)
    checkpoints = store.checkpoints()
    for epoch in (1, 2):
        within = [each for each in checkpoints if each.progress.epoch == epoch and each.progress.done]
        assert {each.progress.order for each in within} == {epoch}
        assert len(within) > 4
        for start in (within[0], within[len(within) // 2], within[-1]):
            assert train(start, reviews=reviews, epochs=3, checkpoint_every_s=1e6) == expected
            assert have_equal_weights(store.checkpoints()[-1], checkpoints[-1])


def test_an_epoch_that_an_earlier_release_began_ends_in_the_order_of_that_release(
    train: Train, store: CheckpointStore, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints name no order, and it read the rows of every epoch in order 0."""
    monkeypatch.setattr(loop, "CHUNK_ROWS", 40)
    orders: list[int] = []
    read_epoch = loop._read_epoch

    def note_order(config: Any, task: Any, worker: Any, order: int) -> Any:
        orders.append(order)
        return read_epoch(config, task, worker, order)

    reviews = copy_rows(prepared, tmp_path / "reviews", 130, group_rows=10)
    train(reviews=reviews, epochs=3, checkpoint_every_s=1e-6)
    start = next(each for each in store.checkpoints() if each.progress.epoch == 1 and each.progress.done)
    manifest = json.loads((start.path / "checkpoint.json").read_text())
    del manifest["progress"]["order"]
    (start.path / "checkpoint.json").write_text(json.dumps(manifest))
    earlier = read_checkpoint(start.path)
    assert earlier
    monkeypatch.setattr(loop, "_read_epoch", note_order)
    history = train(earlier, reviews=reviews, epochs=3)
    assert orders == [0, 2]
    assert [line["epoch"] for line in history] == [1, 2, 3]
