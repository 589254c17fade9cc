"""Measures the model on the validation split at the end of an epoch; knows no Ray."""

from typing import Any

import torch
from torch.nn import functional

from sentiment_ray.metrics.classification import classification_metrics
from sentiment_ray.train.batches import EVALUATION_CHUNK_ROWS, evaluation_batches, select_own_chunks
from sentiment_ray.train.collectives import SUM, all_reduce
from sentiment_ray.train.model import compute_logits
from sentiment_ray.train.setup import Training


@torch.no_grad()
def measure_validation_split(training: Training) -> dict[str, Any]:
    """Return the metrics of the whole split, its `validation_loss`, the mean cross entropy, and `predicted_rows`.

    `predicted_rows` has for each label the number of rows that the model gives it to.

    Each of n workers evaluates every n-th chunk. Counts are summed, so they do not depend on the number of workers. All
    workers call it together.
    """
    num_labels, worker = len(training.task.labels), training.worker
    training.model.eval()
    # Both sums stay on the device until the end: reading a number waits for a GPU.
    counts = torch.zeros(num_labels * num_labels, dtype=torch.int64, device=worker.device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device)
    chunks = worker.read_chunks("validation", EVALUATION_CHUNK_ROWS, 0)
    for chunk in select_own_chunks(chunks, rank=worker.rank, world_size=worker.world_size):
        for batch in evaluation_batches(chunk, training.encoder, tokens_per_batch=training.config.token_budget):
            batch = batch.to(worker.device)
            logits = compute_logits(training.model, batch, training.encoder.truncation, bf16=training.bf16)
            loss_sum += functional.cross_entropy(logits, batch.label_ids, reduction="sum")
            pairs = batch.label_ids * num_labels + logits.argmax(dim=1)
            counts.scatter_add_(0, pairs, torch.ones_like(pairs))
    confusion = all_reduce(counts.cpu().numpy(), SUM).reshape(num_labels, num_labels)
    total_loss = float(all_reduce(loss_sum.cpu().numpy(), SUM))
    return classification_metrics(confusion) | {
        "validation_loss": total_loss / max(int(confusion.sum()), 1),
        "predicted_rows": confusion.sum(axis=0).tolist(),
    }
