"""What a model knows outside its training: a base model before it, a checkpoint after it; knows nothing of Ray."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from sentiment_ray.labels import NEAREST_LABEL, describe_labels, label2id
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.pretrained.base_encoder import load_base
from sentiment_ray.pretrained.load import load_classifier
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import Truncation
from sentiment_ray.train.batches import evaluation_batches
from sentiment_ray.train.device import choose_device
from sentiment_ray.train.embedding import TOKENS_PER_BATCH, embed
from sentiment_ray.train.model import compute_logits
from sentiment_ray.train.precision import use_bf16
from sentiment_ray.train.rows import build_chunk

MAX_ROWS = 2000


def base_model_metrics(
    model: str,
    split: Path,
    labels: Sequence[str],
    *,
    max_tokens: int,
    revision: str | None = None,
    use_gpu: bool = False,
) -> dict[str, Any]:
    """Return method, split, rows, accuracy and macro_f1 of a base model on up to 2,000 rows of a split, untrained.

    A text gets the label whose description has the nearest embedding (mean of the last hidden states, cosine).
    """
    network, encoder = load_base(model, max_tokens=max_tokens, revision=revision)
    network = network.to(choose_device(use_gpu=use_gpu))
    table = parquet.read_table(split, columns=["text", "label"])
    table = table.take(evenly_spaced_rows(len(table), MAX_ROWS))
    ids = label2id(labels)
    label_ids = np.array([ids[label] for label in table.column("label").to_pylist()], dtype=np.int64)
    texts = embed(network, encoder, table.column("text").to_pylist())
    descriptions = embed(network, encoder, describe_labels(labels))
    predicted_ids = (texts @ descriptions.T).argmax(axis=1)
    metrics = classification_metrics(confusion_counts(label_ids, predicted_ids, len(labels)))
    return {"method": NEAREST_LABEL, "split": split.name, **metrics}


@torch.no_grad()
def checkpoint_metrics(
    checkpoint: Path,
    split: Path,
    labels: Sequence[str],
    *,
    max_tokens: int,
    truncation: Truncation,
    cleaning_steps: Sequence[str] = (),
    left_out: Collection[str] = (),
    use_gpu: bool = False,
) -> dict[str, Any]:
    """Return split, rows, accuracy and macro_f1 of a checkpoint on every row of a split whose text is not left out."""
    device = choose_device(use_gpu=use_gpu)
    model: torch.nn.Module = load_classifier(checkpoint)  # checks all of the checkpoint, its tokenizer too
    model = model.to(device)
    encoder = load_encoder(
        checkpoint / "tokenizer.json", max_tokens=max_tokens, truncation=truncation, cleaning_steps=cleaning_steps
    )
    counts, bf16 = np.zeros((len(labels), len(labels)), dtype=np.int64), use_bf16("auto", device)
    table = parquet.read_table(split, columns=["text", "label"])
    if left_out:
        table = table.filter(pa.array([text not in left_out for text in table["text"].to_pylist()]))
    chunk = build_chunk(table, labels)
    for batch in evaluation_batches(chunk, encoder, tokens_per_batch=TOKENS_PER_BATCH):
        logits = compute_logits(model, batch.to(device), truncation, bf16=bf16)
        counts += confusion_counts(batch.label_ids.numpy(), logits.argmax(dim=1).cpu().numpy(), len(labels))
    return {"split": split.name, **classification_metrics(counts)}
