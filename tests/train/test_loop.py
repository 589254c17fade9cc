"""The loop without Ray: workers agree, a resumed training gives the same bits, keys have their effect."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from export.held_out import TorchEngine
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.predictor import score_texts
from sentiment_ray.labels import label2id
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import Pooling, TokenWindows
from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.checkpoint import Checkpoint, Progress, read_checkpoint
from sentiment_ray.train.config import Distill, TrainConfig
from sentiment_ray.train.divergence import MAX_SKIPPED_IN_A_ROW, SkippedSteps
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.setup import Worker
from sentiment_ray.train.step_log import StepResult
from sentiment_ray.train.task import Task
from tests.conftest import LABELS

Train = Callable[..., list[dict[str, Any]]]
TIMES = ("seconds", "tokens_per_s")
ROWS = (1, 2, 3, 7, 50)


@dataclass
class CheckpointStore:
    """Copies of the reported checkpoints, in order."""

    directory: Path
    paths: list[Path] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)

    def report(self, checkpoint: Path | None, name: str, progress: Progress, score: float | None) -> None:
        if checkpoint:
            self.paths.append(self.directory / f"{len(self.paths)}-{name}")
            shutil.copytree(checkpoint, self.paths[-1])

    def checkpoints(self) -> list[Checkpoint]:
        checkpoints = [read_checkpoint(path) for path in self.paths]
        return [checkpoint for checkpoint in checkpoints if checkpoint]


def _chunk_reader(
    prepared: Path, rank: int, world_size: int, rows: int | None = None
) -> Callable[[str, int], Iterator[Chunk]]:
    def read_chunks(split: str, num_rows: int) -> Iterator[Chunk]:
        table = parquet.read_table(prepared / split)
        table = table.slice(0, rows) if rows and split == "train" else table
        texts = table["text"].to_pylist()
        ids = np.array([label2id(LABELS)[name] for name in table["label"].to_pylist()])
        first, last = 0, len(texts)
        if split == "train":
            first, last = (len(texts) * number // world_size for number in (rank, rank + 1))
        for start in range(first, last, num_rows):
            end = min(start + num_rows, last)
            yield Chunk(texts[start:end], ids[start:end])

    return read_chunks


def _with_a_broken_row(
    read_chunks: Callable[[str, int], Iterator[Chunk]], row: int
) -> Callable[[str, int], Iterator[Chunk]]:
    """Read the same chunks, with a teacher who answers NaN for one training row: the loss of its step is NaN."""

    def read(split: str, num_rows: int) -> Iterator[Chunk]:
        for number, chunk in enumerate(read_chunks(split, num_rows)):
            teacher = np.zeros((len(chunk.texts), len(LABELS)), dtype=np.float32)
            if number == 0 and split == "train":
                teacher[row] = np.nan
            yield replace(chunk, teacher=teacher)

    return read


def _config(tiny_encoder: Path, **changes: Any) -> TrainConfig:
    keys: dict[str, Any] = {
        "prepared": "p", "output": "o", "model": str(tiny_encoder), "epochs": 2, "learning_rate": 3e-3,
        "tokens_per_batch": 128, "max_tokens": 32, "dropout": 0.1, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**keys | changes)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path)


@pytest.fixture
def train(prepared: Path, tiny_encoder: Path, store: CheckpointStore) -> Train:
    """Train with one worker and return the history without its times; `store` gets the checkpoints."""

    def call(
        checkpoint: Checkpoint | None = None,
        weights: list[float] | None = None,
        broken_row: int | None = None,
        **changes: Any,
    ) -> list[dict[str, Any]]:
        torch.set_num_threads(1)
        rows = parquet.read_metadata(next((prepared / "train").glob("*.parquet"))).num_rows
        reader = _chunk_reader(prepared, 0, 1)
        worker = Worker(
            rank=0, world_size=1, device=torch.device("cpu"),
            read_chunks=reader if broken_row is None else _with_a_broken_row(reader, broken_row),
            wrap=lambda model: model, report=store.report, show=lambda epochs_done, loss: None,
            record=store.steps.extend,
        )  # fmt: skip
        task = Task(LABELS, weights or [1.0] * len(LABELS), rows)
        history = fine_tune(_config(tiny_encoder, **changes), task, worker, checkpoint)
        return [{key: value for key, value in metrics.items() if key not in TIMES} for metrics in history]

    return call


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.path / "model.safetensors")


def _equal(one: Checkpoint, other: Checkpoint) -> bool:
    first, second = _weights(one), _weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulation_steps": 3, "tokens_per_batch": 32},
        {"lora_rank": 2},
        {"layer_decay": 0.7},
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
        assert _equal(store.checkpoints()[-1], checkpoints[-1])


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


def test_an_epoch_of_several_passes_trains_on_every_row_in_each(train: Train) -> None:
    once, thrice = train(epochs=1), train(epochs=1, passes_per_epoch=3)
    assert thrice[0]["train_rows"] == 3 * once[0]["train_rows"]
    assert thrice[0]["steps"] == 3 * once[0]["steps"]
    assert thrice[0]["loss"] < once[0]["loss"]


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


def test_texts_are_cleaned_by_the_cleaning_steps_of_the_task(
    train: Train, prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    (plain,) = train(epochs=1)
    read_chunks = _chunk_reader(prepared, 0, 1)

    def read_in_tags(split: str, num_rows: int) -> Iterator[Chunk]:
        for chunk in read_chunks(split, num_rows):
            yield Chunk([f"<b title='bad'>{text}</b>" for text in chunk.texts], chunk.label_ids)

    worker = Worker(
        rank=0, world_size=1, device=torch.device("cpu"), read_chunks=read_in_tags, wrap=lambda model: model,
        report=CheckpointStore(tmp_path / "other").report, show=lambda epochs_done, loss: None,
    )  # fmt: skip
    for cleaning_steps, is_equal in ((("strip_tags",), True), ((), False)):
        task = Task(LABELS, [1.0] * len(LABELS), plain["train_rows"], cleaning_steps)
        (line,) = fine_tune(_config(tiny_encoder, epochs=1), task, worker, None)
        assert (line["loss"] == plain["loss"]) == is_equal


def _train_together(rank: int, ports: list[int], prepared: str, model: str, results: str) -> None:
    """Run one of four processes: 1, 2, 3 and 4 of them train together in turn, and the first writes the metrics."""
    torch.set_num_threads(1)
    for world_size in range(rank + 1, len(ports) + 1):
        method = f"tcp://127.0.0.1:{ports[world_size - 1]}"
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=world_size)
        for rows in ROWS:
            worker = Worker(
                rank=rank, world_size=world_size, device=torch.device("cpu"),
                read_chunks=_chunk_reader(Path(prepared), rank, world_size, rows),
                wrap=torch.nn.parallel.DistributedDataParallel,
                report=lambda *arguments: None, show=lambda epochs_done, loss: None,
            )  # fmt: skip
            config = _config(Path(model), epochs=1, dropout=0.0, learning_rate=1e-12)
            (line,) = fine_tune(config, Task(LABELS, [1.0] * len(LABELS), rows), worker, None)
            if rank == 0:
                Path(results, f"{world_size}-{rows}.json").write_text(json.dumps(line))
        if world_size == 2:
            _train_with_a_broken_row(rank, prepared, model, results)
        dist.destroy_process_group()


def _train_with_a_broken_row(rank: int, prepared: str, model: str, results: str) -> None:
    """Train as one of two workers, of which only the second one has a row whose loss is NaN."""
    reader = _chunk_reader(Path(prepared), rank, 2, 50)
    worker = Worker(
        rank=rank, world_size=2, device=torch.device("cpu"),
        read_chunks=_with_a_broken_row(reader, 3) if rank == 1 else reader,
        wrap=torch.nn.parallel.DistributedDataParallel,
        report=lambda *arguments: None, show=lambda epochs_done, loss: None,
    )  # fmt: skip
    config = _config(Path(model), epochs=1, distill=Distill(scores="s"))
    (line,) = fine_tune(config, Task(LABELS, [1.0] * len(LABELS), 50), worker, None)
    Path(results, f"broken-{rank}.json").write_text(json.dumps(line))


def test_one_to_four_workers_report_the_same_counts(
    prepared: Path, tiny_encoder: Path, tmp_path: Path, free_ports: list[int]
) -> None:
    """With a learning rate of almost 0 the weights stay the same, so all counts must be equal."""
    processes.spawn(_train_together, (free_ports, str(prepared), str(tiny_encoder), str(tmp_path)), nprocs=4)
    exact = ("accuracy", "macro_f1", "f1", "rows", "tokens")
    for rows in ROWS:
        alone, *others = [json.loads((tmp_path / f"{workers}-{rows}.json").read_text()) for workers in (1, 2, 3, 4)]
        for line in (alone, *others):
            assert line["train_rows"] == rows
            assert {key: line[key] for key in exact} == {key: alone[key] for key in exact}
            assert line["loss"] == pytest.approx(alone["loss"], abs=1e-5)
            assert line["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-6)

    one, other = [json.loads((tmp_path / f"broken-{rank}.json").read_text()) for rank in (0, 1)]
    assert one["skipped_steps"] == other["skipped_steps"] == 1
    assert {key: one[key] for key in exact} == {key: other[key] for key in exact}
    assert one["loss"] == other["loss"] < 2


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
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(store.checkpoints()[-1])
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert changed
    assert not any(name.startswith(("embeddings", "encoder.layer.0")) for name in changed)


def test_gradient_checkpointing_trains_the_layers_above_frozen_ones(train: Train, store: CheckpointStore) -> None:
    frozen = {"epochs": 1, "frozen_layers": 1, "dropout": 0.0}
    assert train(**frozen, gradient_checkpointing=True) == train(**frozen)
    assert _equal(*store.checkpoints())


def test_a_training_of_one_step_changes_the_weights(train: Train, store: CheckpointStore, tiny_encoder: Path) -> None:
    (line,) = train(epochs=1, tokens_per_batch=100_000, warmup_ratio=0.0)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(store.checkpoints()[-1])
    assert any(not torch.equal(value, after[f"bert.{name}"]) for name, value in before.items())
    assert line["train_rows"] > 100


def test_low_rank_additions_are_merged_in_a_checkpoint(
    train: Train, store: CheckpointStore, tiny_encoder: Path
) -> None:
    pytest.importorskip("peft")
    (line,) = train(epochs=1, lora_rank=2)
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(store.checkpoints()[-1])
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
    before, after = load_file(tiny_encoder / "model.safetensors"), _weights(store.checkpoints()[-1])
    moved = [
        float((after[f"bert.encoder.layer.{layer}.output.dense.weight"] - value).abs().mean())
        for layer in (0, 1)
        for value in (before[f"encoder.layer.{layer}.output.dense.weight"],)
    ]
    assert 20 < moved[1] / moved[0] < 500


def test_a_step_whose_loss_is_not_finite_is_skipped_and_counted(train: Train, store: CheckpointStore) -> None:
    history = train(broken_row=3, distill=Distill(scores="s"), checkpoint_every_s=1e-6)
    assert [line["skipped_steps"] for line in history] == [1, 1]
    assert all(0 < line["loss"] < 2 and np.isfinite(line["validation_loss"]) for line in history)
    checkpoints = store.checkpoints()
    assert all(value.isfinite().all() for checkpoint in checkpoints for value in _weights(checkpoint).values())
    within = [each for each in checkpoints if each.progress.skipped_steps and each.progress.epoch == 1]
    assert train(within[0], broken_row=3, distill=Distill(scores="s"), checkpoint_every_s=1e6) == history
    assert _equal(store.checkpoints()[-1], checkpoints[-1])


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}, {"learning_rate": 1e6, "tokens_per_batch": 32}])
def test_a_training_that_diverges_ends_and_leaves_no_such_checkpoint(
    train: Train, store: CheckpointStore, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"diverged in epoch \d.*: set learning_rate below 1e\+"):
        train(**changes, epochs=20, checkpoint_every_s=1e-6)
    assert all(value.isfinite().all() for each in store.checkpoints() for value in _weights(each).values())


def test_a_training_in_which_every_step_of_an_epoch_is_skipped_ends(train: Train, store: CheckpointStore) -> None:
    with pytest.raises(ConfigError, match=r"diverged in epoch 1, step 1: .* 1 steps of the epoch were skipped"):
        train(weights=[float("inf")] * len(LABELS), tokens_per_batch=100_000)
    assert not store.paths


def test_many_skipped_steps_in_a_row_end_a_training(train: Train) -> None:
    with pytest.raises(ConfigError, match=rf"step {MAX_SKIPPED_IN_A_ROW}: .* {MAX_SKIPPED_IN_A_ROW} steps of the"):
        train(weights=[float("nan")] * len(LABELS), tokens_per_batch=32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_model_whose_weights_are_not_finite_is_refused_by_the_name_of_the_weight(
    train: Train, tiny_encoder: Path, tmp_path: Path, value: float
) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][3, 4] = value
    save_file(weights, tmp_path / "model/model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"its weight bert\.encoder\.layer\.1\.output\.dense\.weight holds NaN"):
        train(model=str(tmp_path / "model"))


def test_skipped_steps_are_counted_when_they_are_read() -> None:
    skipped, taken = SkippedSteps(2, 7), torch.tensor(True)
    for is_finite in (taken, ~taken, ~taken, taken, ~taken):
        skipped.note(is_finite, 10)
    assert (skipped.steps, skipped.rows) == (2, 7)
    assert not skipped.count()
    assert (skipped.steps, skipped.rows, skipped.in_a_row) == (5, 37, 1)
    for is_finite in (*[~taken] * MAX_SKIPPED_IN_A_ROW, taken):  # a GPU may have gone on before they are read
        skipped.note(is_finite, 1)
    assert skipped.count()


def test_a_trial_of_a_search_writes_no_checkpoint(prepared: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    reported: list[tuple[Path | None, str]] = []
    worker = Worker(
        rank=0, world_size=1, device=torch.device("cpu"), read_chunks=_chunk_reader(prepared, 0, 1, 40),
        wrap=lambda model: model, report=lambda *arguments: reported.append(arguments[:2]),
        show=lambda epochs_done, loss: None, keeps_checkpoints=False,
    )  # fmt: skip
    fine_tune(_config(tiny_encoder), Task(LABELS, [1.0] * len(LABELS), 40), worker, None)
    assert reported == [(None, "epoch-1"), (None, "epoch-2")]
