"""The training loop that each worker runs: plain PyTorch, fed by Ray Datasets; knows nothing of the driver's files.

Read it from `train_loop_per_worker`: load, then for each epoch train, evaluate, report a checkpoint.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from ray.train.torch import get_device, prepare_model
from torch.nn import functional

from sentiment_ray.encoding import TextEncoder, load_encoder
from sentiment_ray.labels import label2id
from sentiment_ray.metrics import classification_metrics, confusion_counts
from sentiment_ray.train.batches import WINDOW_ROWS, Batch, evaluation_batches, training_batches
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.model import load_model, load_tokenizer_files, parameter_groups, use_bf16

REPORT_EVERY_S = 1.0


def train_loop_per_worker(settings: dict[str, Any]) -> None:
    """Train on this worker's share; `settings` holds config, labels, rows and threads, and the progress board."""
    config, labels = TrainConfig(**settings["config"]), tuple(settings["labels"])
    context = ray.train.get_context()
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    torch.manual_seed(config.seed)
    device = get_device()
    with tempfile.TemporaryDirectory() as directory:
        start = _last_checkpoint(Path(directory) / "start")
        source = str(start) if start else config.model
        tokenizer_path = Path(directory) / "tokenizer"
        load_tokenizer_files(source, tokenizer_path)
        encoder = load_encoder(tokenizer_path / "tokenizer.json", max_tokens=config.max_tokens)
        model = load_model(source, labels, dropout=config.dropout, device=device)
        state = torch.load(start / "optimizer.pt", weights_only=True) if start else None

        bare_model, model = model, prepare_model(model)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, weight_decay=config.weight_decay), lr=config.learning_rate, fused=True
        )
        history: list[dict[str, Any]] = []
        if state:
            optimizer.load_state_dict(state["optimizer"])
            history = state["history"]
        for epoch in range(len(history), config.epochs):
            # Each worker draws its own order and dropout, each epoch another one.
            seed = [config.seed, epoch, context.get_world_rank()]
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            started = time.monotonic()
            trained = _train_epoch(model, optimizer, encoder, epoch, np.random.default_rng(seed), config, settings)
            metrics = _evaluate(model, encoder, config, labels) | trained
            history.append({"epoch": epoch + 1, **metrics, "seconds": round(time.monotonic() - started, 2)})
            _report(bare_model, optimizer, history, tokenizer_path, settings)


def _train_epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    encoder: TextEncoder,
    epoch: int,
    rng: np.random.Generator,
    config: TrainConfig,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Take one pass over this worker's shard and return its mean loss and real tokens a second, over all workers."""
    model.train()
    device = get_device()
    bf16 = use_bf16(config.precision, device)
    batches = training_batches(
        _windows("train", settings["labels"]),
        encoder,
        tokens_per_batch=config.tokens_per_batch,
        num_rows=settings["train_rows"] // ray.train.get_context().get_world_size(),
        rng=rng,
        agree=_largest_of_workers,
    )
    started = reported = time.monotonic()
    totals = torch.zeros(3, dtype=torch.float64)  # loss × rows, rows, real tokens
    for step, batch in enumerate(batches, start=1):
        batch = batch.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        loss = functional.cross_entropy(logits.float(), batch.label_ids)
        (loss / config.accumulation_steps).backward()
        if step % config.accumulation_steps == 0 or batch.done >= 1:
            rate = learning_rate_at((epoch + batch.done) / config.epochs, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        rows = len(batch.label_ids)
        totals += torch.tensor([loss.item() * rows, rows, batch.attention_mask.sum().item()], dtype=torch.float64)
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            settings["board"].advance.remote(epoch + batch.done, float(totals[0] / totals[1]))
    seconds = time.monotonic() - started
    loss_sum, rows_sum, tokens_sum = _sum_over_workers(totals.numpy()).tolist()
    return {"loss": loss_sum / rows_sum, "train_rows": int(rows_sum), "tokens_per_s": round(tokens_sum / seconds, 1)}


def learning_rate_at(done: float, config: TrainConfig) -> float:
    """Return the learning rate when the share `done` of the training lies behind: linear warm-up, linear decay."""
    if done < config.warmup_share:
        return config.learning_rate * done / config.warmup_share
    return config.learning_rate * (1 - done) / (1 - config.warmup_share)


@torch.no_grad()
def _evaluate(
    model: torch.nn.Module, encoder: TextEncoder, config: TrainConfig, labels: tuple[str, ...]
) -> dict[str, Any]:
    """Return metrics over the whole validation split: each worker takes every n-th row, and the counts are summed."""
    model.eval()
    module = getattr(model, "module", model)
    context, device = ray.train.get_context(), get_device()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    seen = 0
    for texts, label_ids in _windows("validation", labels):
        mine = np.arange((rank - seen) % world_size, len(texts), world_size)
        seen += len(texts)
        my_texts = [texts[row] for row in mine]
        for batch in evaluation_batches(my_texts, label_ids[mine], encoder, tokens_per_batch=config.tokens_per_batch):
            counts += confusion_counts(batch.label_ids.numpy(), _predict(module, batch.to(device), config), len(labels))
    return classification_metrics(_sum_over_workers(counts))


def _predict(model: torch.nn.Module, batch: Batch, config: TrainConfig) -> NDArray[np.int64]:
    device = batch.input_ids.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bf16(config.precision, device)):
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return logits.argmax(dim=1).cpu().numpy()


def _windows(split: str, labels: tuple[str, ...]) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
    """Yield windows of texts and int64 label ids from this worker's shard of a split."""
    ids = label2id(labels)
    shard = ray.train.get_dataset_shard(split)
    for table in shard.iter_batches(batch_size=WINDOW_ROWS, batch_format="pyarrow", prefetch_batches=1):
        assert isinstance(table, pa.Table)
        names = table.column("label").to_pylist()
        yield table.column("text").to_pylist(), np.array([ids[name] for name in names], dtype=np.int64)


def _report(
    model: Any,
    optimizer: torch.optim.Optimizer,
    history: list[dict[str, Any]],
    tokenizer: Path,
    settings: dict[str, Any],
) -> None:
    """Report an epoch's metrics to Ray Train; rank 0 adds the checkpoint. All workers meet here."""
    metrics = {"macro_f1": history[-1]["macro_f1"], "history": history}
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report(metrics)
        return
    settings["board"].finish_epoch.remote(history[-1])
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory, safe_serialization=True)
        for file in tokenizer.iterdir():
            (Path(directory) / file.name).write_bytes(file.read_bytes())
        torch.save({"optimizer": optimizer.state_dict(), "history": history}, Path(directory) / "optimizer.pt")
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(directory))


def _last_checkpoint(directory: Path) -> Path | None:
    checkpoint = ray.train.get_checkpoint()
    return Path(checkpoint.to_directory(str(directory))) if checkpoint else None


def _largest_of_workers(count: int) -> int:
    return int(_reduce(torch.tensor([count]), dist.ReduceOp.MAX)[0])


def _sum_over_workers(values: NDArray[Any]) -> NDArray[Any]:
    return _reduce(torch.from_numpy(np.array(values)), dist.ReduceOp.SUM).numpy()


def _reduce(tensor: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    moved = tensor.to(get_device())
    dist.all_reduce(moved, op=operation)
    return moved.cpu()
