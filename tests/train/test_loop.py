"""The loop without Ray: workers agree, a checkpoint is gone on from to the bit, options do what they say."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from pyarrow import parquet
from safetensors.torch import load_file

from export.held_out import TorchEngine
from sentiment_ray.inference.predictor import score_texts
from sentiment_ray.labels import label2id
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import Pooling, Windows
from sentiment_ray.train.batches import Window
from sentiment_ray.train.checkpoint import Checkpoint, Progress, read_checkpoint
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loop import Task, Worker, fine_tune
from tests.conftest import LABELS

Train = Callable[..., list[dict[str, Any]]]
TIMES = ("seconds", "tokens_per_s")
ROWS = (1, 2, 3, 7, 50)


@dataclass
class Kept:
    """Checkpoints as they were reported, in order."""

    directory: Path
    paths: list[Path] = field(default_factory=list)

    def report(self, checkpoint: Path | None, name: str, progress: Progress, score: float | None) -> None:
        if checkpoint:
            self.paths.append(self.directory / f"{len(self.paths)}-{name}")
            shutil.copytree(checkpoint, self.paths[-1])

    def checkpoints(self) -> list[Checkpoint]:
        found = [read_checkpoint(path) for path in self.paths]
        return [checkpoint for checkpoint in found if checkpoint]


def _windows(
    prepared: Path, rank: int, world_size: int, rows: int | None = None
) -> Callable[[str, int], Iterator[Window]]:
    def windows(split: str, num_rows: int) -> Iterator[Window]:
        table = parquet.read_table(prepared / split)
        table = table.slice(0, rows) if rows and split == "train" else table
        texts = table["text"].to_pylist()
        ids = np.array([label2id(LABELS)[name] for name in table["label"].to_pylist()])
        first, last = 0, len(texts)
        if split == "train":
            first, last = (len(texts) * place // world_size for place in (rank, rank + 1))
        for start in range(first, last, num_rows):
            end = min(start + num_rows, last)
            yield Window(texts[start:end], ids[start:end])

    return windows


def _config(tiny_encoder: Path, **changes: Any) -> TrainConfig:
    keys: dict[str, Any] = {
        "prepared": "p", "output": "o", "model": str(tiny_encoder), "epochs": 2, "learning_rate": 3e-3,
        "tokens_per_batch": 128, "max_tokens": 32, "dropout": 0.1, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**keys | changes)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
def train(prepared: Path, tiny_encoder: Path, kept: Kept) -> Train:
    """Train alone and return the history without its times; checkpoints are kept."""

    def call(
        start: Checkpoint | None = None, weights: list[float] | None = None, **changes: Any
    ) -> list[dict[str, Any]]:
        torch.set_num_threads(1)
        rows = parquet.read_metadata(next((prepared / "train").glob("*.parquet"))).num_rows
        worker = Worker(
            rank=0, world_size=1, device=torch.device("cpu"), windows=_windows(prepared, 0, 1),
            wrap=lambda model: model, report=kept.report, show=lambda epochs_done, loss: None,
        )  # fmt: skip
        task = Task(LABELS, weights or [1.0] * len(LABELS), rows)
        history = fine_tune(_config(tiny_encoder, **changes), task, worker, start)
        return [{key: value for key, value in line.items() if key not in TIMES} for line in history]

    return call


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.path / "model.safetensors")


def _equal(one: Checkpoint, other: Checkpoint) -> bool:
    first, second = _weights(one), _weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "changes", [{}, {"accumulation_steps": 3, "tokens_per_batch": 32}, {"lora_rank": 2}, {"layer_decay": 0.7}]
)
def test_from_any_checkpoint_the_training_ends_with_the_same_bits(
    train: Train, kept: Kept, changes: dict[str, Any]
) -> None:
    if "lora_rank" in changes:
        pytest.importorskip("peft")
    expected = train(checkpoint_every_s=1e-6, **changes)
    checkpoints = kept.checkpoints()
    within = [checkpoint for checkpoint in checkpoints if checkpoint.progress.done]
    assert within
    assert [line["epoch"] for line in expected] == [1, 2]
    for start in (within[0], within[-1], next(found for found in checkpoints if found.place == (1, 0.0))):
        assert train(start, checkpoint_every_s=1e6, **changes) == expected
        assert _equal(kept.checkpoints()[-1], checkpoints[-1])


def test_a_checkpoint_that_lost_a_byte_is_none(train: Train, kept: Kept) -> None:
    train(epochs=1)
    (checkpoint,) = kept.checkpoints()
    weights = checkpoint.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert read_checkpoint(checkpoint.path) is None
    weights.unlink()
    assert read_checkpoint(checkpoint.path) is None


def test_texts_are_cleaned_as_those_of_the_run_are(
    train: Train, prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    (plain,) = train(epochs=1)
    windows = _windows(prepared, 0, 1)

    def in_tags(split: str, num_rows: int) -> Iterator[Window]:
        for window in windows(split, num_rows):
            yield Window([f"<b title='bad'>{text}</b>" for text in window.texts], window.label_ids)

    worker = Worker(
        rank=0, world_size=1, device=torch.device("cpu"), windows=in_tags,
        wrap=lambda model: model, report=Kept(tmp_path / "other").report, show=lambda epochs_done, loss: None,
    )  # fmt: skip
    for steps, is_alike in ((("strip_tags",), True), ((), False)):
        task = Task(LABELS, [1.0] * len(LABELS), plain["train_rows"], steps)
        (line,) = fine_tune(_config(tiny_encoder, epochs=1), task, worker, None)
        assert (line["loss"] == plain["loss"]) == is_alike


def _train_together(rank: int, ports: list[int], prepared: str, model: str, results: str) -> None:
    """One of four processes: the first, two, three and all of them train together; the first writes histories down."""
    torch.set_num_threads(1)
    for world_size in range(rank + 1, len(ports) + 1):
        method = f"tcp://127.0.0.1:{ports[world_size - 1]}"
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=world_size)
        for rows in ROWS:
            worker = Worker(
                rank=rank, world_size=world_size, device=torch.device("cpu"),
                windows=_windows(Path(prepared), rank, world_size, rows),
                wrap=torch.nn.parallel.DistributedDataParallel,
                report=lambda *told: None, show=lambda epochs_done, loss: None,
            )  # fmt: skip
            config = _config(Path(model), epochs=1, dropout=0.0, learning_rate=1e-12)
            (line,) = fine_tune(config, Task(LABELS, [1.0] * len(LABELS), rows), worker, None)
            if rank == 0:
                Path(results, f"{world_size}-{rows}.json").write_text(json.dumps(line))
        dist.destroy_process_group()


def test_one_to_four_workers_end_and_count_alike(
    prepared: Path, tiny_encoder: Path, tmp_path: Path, free_ports: list[int]
) -> None:
    """With a learning rate of nothing the weights stay, so all counts must be the same to the last."""
    processes.spawn(_train_together, (free_ports, str(prepared), str(tiny_encoder), str(tmp_path)), nprocs=4)
    exact = ("accuracy", "macro_f1", "f1", "rows", "tokens")
    for rows in ROWS:
        alone, *others = [json.loads((tmp_path / f"{workers}-{rows}.json").read_text()) for workers in (1, 2, 3, 4)]
        for line in (alone, *others):
            assert line["train_rows"] == rows
            assert {key: line[key] for key in exact} == {key: alone[key] for key in exact}
            assert line["loss"] == pytest.approx(alone["loss"], abs=1e-5)
            assert line["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_what_is_trained_on_windows_is_answered_on_windows(
    train: Train, kept: Kept, prepared: Path, pooling: Pooling
) -> None:
    """The counts of the last epoch are those of the scoring path with the same windows."""
    line = train(epochs=1, max_tokens=6, truncation="windows", pooling=pooling, window_overlap=0.5, max_windows=4)[-1]
    windows = Windows(pooling=pooling, overlap=0.5, max_windows=4)
    checkpoint = kept.checkpoints()[-1].path
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=6, truncation=windows)
    table = parquet.read_table(prepared / "validation")
    scores = score_texts(TorchEngine(checkpoint), encoder, table["text"].to_pylist())
    expected = np.array([label2id(LABELS)[label] for label in table["label"].to_pylist()])
    assert (scores.tokens > 6).mean() > 0.5
    assert line["accuracy"] == pytest.approx((scores.label_ids == expected).mean())


def test_frozen_layers_stay_as_they_were_and_the_others_do_not(train: Train, kept: Kept, tiny_encoder: Path) -> None:
    train(epochs=1, frozen_layers=1)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(kept.checkpoints()[-1])
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert changed
    assert not any(name.startswith(("embeddings", "encoder.layer.0")) for name in changed)


def test_layers_above_frozen_ones_learn_with_gradient_checkpointing(train: Train, kept: Kept) -> None:
    frozen = {"epochs": 1, "frozen_layers": 1, "dropout": 0.0}
    assert train(**frozen, gradient_checkpointing=True) == train(**frozen)
    assert _equal(*kept.checkpoints())


def test_a_training_of_one_step_learns(train: Train, kept: Kept, tiny_encoder: Path) -> None:
    (line,) = train(epochs=1, tokens_per_batch=100_000, warmup_share=0.0)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(kept.checkpoints()[-1])
    assert any(not torch.equal(value, after[f"bert.{name}"]) for name, value in before.items())
    assert line["train_rows"] > 100


def test_low_rank_additions_are_merged_in_a_checkpoint(train: Train, kept: Kept, tiny_encoder: Path) -> None:
    pytest.importorskip("peft")
    (line,) = train(epochs=1, lora_rank=2)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(kept.checkpoints()[-1])
    assert {f"bert.{name}" for name in before} <= set(after)
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert all(name.endswith(".weight") and "LayerNorm" not in name and "embeddings" not in name for name in changed)
    assert len(changed) >= 12
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(kept.checkpoints()[-1].path)
    assert line["loss"] > 0


def test_gradient_checkpointing_changes_no_result(train: Train) -> None:
    assert train(epochs=1, gradient_checkpointing=True) == train(epochs=1)


def test_the_loss_that_is_reported_is_the_one_that_is_asked_for(train: Train) -> None:
    tiny = {"epochs": 1, "learning_rate": 1e-12, "dropout": 0.0}
    (plain,) = train(**tiny)
    (focal,) = train(**tiny, focal_gamma=2.0)
    (weighted,) = train(**tiny, weights=[2.0, 2.0, 2.0])
    (smoothed,) = train(**tiny, label_smoothing=0.5)
    assert focal["loss"] < plain["loss"]
    assert weighted["loss"] == pytest.approx(2 * plain["loss"], rel=1e-6)
    assert smoothed["loss"] == pytest.approx(plain["loss"], abs=0.2)
    assert smoothed["validation_loss"] == pytest.approx(plain["validation_loss"], rel=1e-6)


def test_upper_layers_learn_faster_with_layer_decay(train: Train, kept: Kept, tiny_encoder: Path) -> None:
    train(epochs=1, layer_decay=0.01, weight_decay=0.0)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(kept.checkpoints()[-1])
    moved = [
        float((after[f"bert.encoder.layer.{layer}.output.dense.weight"] - value).abs().mean())
        for layer in (0, 1)
        for value in (before[f"encoder.layer.{layer}.output.dense.weight"],)
    ]
    assert 20 < moved[1] / moved[0] < 500
