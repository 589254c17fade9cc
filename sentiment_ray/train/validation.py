"""Measures the model on the validation split at the end of an epoch; knows no Ray."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
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
    counts = np.zeros((num_labels, num_labels), dtype=np.int64)
    loss_sum = 0.0
    chunks = worker.read_chunks("validation", EVALUATION_CHUNK_ROWS, 0)
    for chunk in select_own_chunks(chunks, rank=worker.rank, world_size=worker.world_size):
        for batch in evaluation_batches(chunk, training.encoder, tokens_per_batch=training.config.token_budget):
            batch = batch.to(worker.device)
            logits = compute_logits(training.model, batch, training.encoder.truncation, bf16=training.bf16)
            loss_sum += float(functional.cross_entropy(logits, batch.label_ids, reduction="sum"))
            predicted = logits.argmax(dim=1).cpu().numpy()
            counts += confusion_counts(batch.label_ids.cpu().numpy(), predicted, num_labels)
    counts = all_reduce(counts, SUM)
    loss_sum = float(all_reduce(np.array(loss_sum), SUM))
    return classification_metrics(counts) | {
        "validation_loss": loss_sum / max(int(counts.sum()), 1),
        "predicted_rows": counts.sum(axis=0).tolist(),
    }
