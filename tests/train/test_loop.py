"""The loop without Ray: steps are recorded, rows are read as the task says, keys have their effect."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from export.held_out import TorchEngine
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.labels import label2id
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import HEAD, Pooling, TokenWindows
from sentiment_ray.train.batches import EVALUATION_CHUNK_ROWS, Chunk, evaluation_batches
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.model import compute_logits, load_model
from tests.conftest import LABELS
from tests.train.training import (
    CheckpointStore,
    Train,
    copy_rows,
    have_equal_weights,
    load_weights,
    make_config,
    make_reader,
    make_task,
    make_worker,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulation_steps": 3, "rows_per_batch": 5, "tokens_per_batch": 2048},
        {"passes_per_epoch": 3},
    ],
)
def test_each_step_is_recorded_with_its_loss_and_its_accuracy(
    train: Train, store: CheckpointStore, changes: dict[str, Any]
) -> None:
    history = train(dropout=0.0, learning_rate=3e-3, **changes)
    num_steps = sum(line["steps"] for line in history)
    assert [result.step for result in store.steps] == list(range(1, num_steps + 1))
    assert {result.total_steps for result in store.steps} == {num_steps}
    losses = [result.loss or 0.0 for result in store.steps]
    assert min(losses) > 0
    assert sum(losses[: num_steps // 2]) / (num_steps // 2) == pytest.approx(history[0]["loss"], rel=0.1)
    accuracies = [result.accuracy for result in store.steps]
    assert all(accuracy is not None and 0 <= accuracy <= 1 for accuracy in accuracies)


@pytest.mark.parametrize("tokens_per_batch", [32, 128, 4096])
def test_the_validation_metrics_are_those_of_each_batch_added_up(
    train: Train, store: CheckpointStore, prepared: Path, tokens_per_batch: int
) -> None:
    (metrics,) = train(epochs=1, tokens_per_batch=tokens_per_batch)
    checkpoint = store.paths[-1]
    model = load_model(str(checkpoint), LABELS, dropout=0.1, device=torch.device("cpu")).eval()
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=32)
    counts, loss = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64), 0.0
    for chunk in make_reader(prepared)("validation", EVALUATION_CHUNK_ROWS, 0):
        for batch in evaluation_batches(chunk, encoder, tokens_per_batch=tokens_per_batch):
            with torch.no_grad():
                logits = compute_logits(model, batch, HEAD, bf16=False)
            loss += float(torch.nn.functional.cross_entropy(logits, batch.label_ids, reduction="sum"))
            np.add.at(counts, (batch.label_ids.numpy(), logits.argmax(dim=1).numpy()), 1)
    assert metrics["validation_loss"] == loss / counts.sum()
    assert metrics["predicted_rows"] == counts.sum(axis=0).tolist()
    assert metrics["accuracy"] == np.trace(counts) / counts.sum()


def test_an_epoch_of_several_passes_trains_on_every_row_in_each(train: Train) -> None:
    once, thrice = train(epochs=1), train(epochs=1, passes_per_epoch=3)
    assert thrice[0]["train_rows"] == 3 * once[0]["train_rows"]
    assert thrice[0]["steps"] == 3 * once[0]["steps"]
    assert thrice[0]["loss"] < once[0]["loss"]


def test_texts_are_cleaned_by_the_cleaning_steps_of_the_task(train: Train, prepared: Path, tiny_encoder: Path) -> None:
    (plain,) = train(epochs=1)
    read_chunks = make_reader(prepared)

    def read_in_tags(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        for chunk in read_chunks(split, num_rows, order):
            yield Chunk([f"<b title='bad'>{text}</b>" for text in chunk.texts], chunk.label_ids)

    for cleaning_steps, is_equal in ((("strip_tags",), True), ((), False)):
        task = make_task(prepared, cleaning_steps=cleaning_steps)
        (line,) = fine_tune(make_config(tiny_encoder, epochs=1), task, make_worker(read_in_tags), None)
        assert (line["loss"] == plain["loss"]) == is_equal


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_model_trained_on_windows_is_measured_on_windows(
    train: Train, store: CheckpointStore, prepared: Path, pooling: Pooling
) -> None:
    """The accuracy of the last epoch equals that of the scoring path with the same windows."""
    line = train(epochs=1, max_tokens=6, truncation="windows", pooling=pooling, window_overlap=0.5, max_windows=4)[-1]
    windows = TokenWindows(pooling=pooling, overlap=0.5, max_windows=4)
    checkpoint = store.checkpoints()[-1].path
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=6, truncation=windows)
    table = parquet.read_table(prepared / "validation")
    scores = score_texts(TorchEngine(checkpoint), encoder, table["text"].to_pylist())
    expected = np.array([label2id(LABELS)[label] for label in table["label"].to_pylist()])
    assert (scores.tokens > 6).mean() > 0.5
    assert line["accuracy"] == pytest.approx((scores.label_ids == expected).mean())


def test_only_layers_that_are_not_frozen_change(train: Train, store: CheckpointStore, tiny_encoder: Path) -> None:
    train(epochs=1, frozen_layers=1)
    before, after = load_file(tiny_encoder / "model.safetensors"), load_weights(store.checkpoints()[-1])
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert changed
    assert not any(name.startswith(("embeddings", "encoder.layer.0")) for name in changed)


def test_gradient_checkpointing_trains_the_layers_above_frozen_ones(train: Train, store: CheckpointStore) -> None:
    frozen = {"epochs": 1, "frozen_layers": 1, "dropout": 0.0}
    assert train(**frozen, gradient_checkpointing=True) == train(**frozen)
    assert have_equal_weights(*store.checkpoints())


def test_a_training_of_one_step_changes_the_weights(train: Train, store: CheckpointStore, tiny_encoder: Path) -> None:
    (line,) = train(epochs=1, tokens_per_batch=100_000, warmup_ratio=0.0)
    before, after = load_file(tiny_encoder / "model.safetensors"), load_weights(store.checkpoints()[-1])
    assert any(not torch.equal(value, after[f"bert.{name}"]) for name, value in before.items())
    assert line["train_rows"] > 100


def test_low_rank_additions_are_merged_in_a_checkpoint(
    train: Train, store: CheckpointStore, tiny_encoder: Path
) -> None:
    pytest.importorskip("peft")
    (line,) = train(epochs=1, lora_rank=2)
    before, after = load_file(tiny_encoder / "model.safetensors"), load_weights(store.checkpoints()[-1])
    assert {f"bert.{name}" for name in before} <= set(after)
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert all(name.endswith(".weight") and "LayerNorm" not in name and "embeddings" not in name for name in changed)
    assert len(changed) >= 12
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(store.checkpoints()[-1].path)
    assert line["loss"] > 0


def test_gradient_checkpointing_changes_no_result(train: Train) -> None:
    assert train(epochs=1, gradient_checkpointing=True) == train(epochs=1)


def test_the_reported_loss_is_the_configured_one(train: Train) -> None:
    tiny = {"epochs": 1, "learning_rate": 1e-12, "dropout": 0.0}
    (plain,) = train(**tiny)
    (focal,) = train(**tiny, focal_gamma=2.0)
    (weighted,) = train(**tiny, weights=[2.0, 2.0, 2.0])
    (smoothed,) = train(**tiny, label_smoothing=0.5)
    assert focal["loss"] < plain["loss"]
    assert weighted["loss"] == pytest.approx(2 * plain["loss"], rel=1e-6)
    assert smoothed["loss"] == pytest.approx(plain["loss"], abs=0.2)
    assert smoothed["validation_loss"] == pytest.approx(plain["validation_loss"], rel=1e-6)


def test_upper_layers_learn_faster_with_layer_decay(train: Train, store: CheckpointStore, tiny_encoder: Path) -> None:
    train(epochs=1, layer_decay=0.01, weight_decay=0.0)
    before, after = load_file(tiny_encoder / "model.safetensors"), load_weights(store.checkpoints()[-1])
    moved = [
        float((after[f"bert.encoder.layer.{layer}.output.dense.weight"] - value).abs().mean())
        for layer in (0, 1)
        for value in (before[f"encoder.layer.{layer}.output.dense.weight"],)
    ]
    assert 20 < moved[1] / moved[0] < 500


def test_a_trial_of_a_search_writes_no_checkpoint(prepared: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    reported: list[tuple[Path | None, str]] = []
    reviews = copy_rows(prepared, tmp_path, 40)

    def report(checkpoint: Path | None, name: str, *_: Any) -> None:
        reported.append((checkpoint, name))

    worker = make_worker(make_reader(reviews), report=report, keeps_checkpoints=False)
    fine_tune(make_config(tiny_encoder), make_task(reviews), worker, None)
    assert reported == [(None, "epoch-1"), (None, "epoch-2")]
