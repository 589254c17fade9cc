"""What a model knows outside its training: a base model before it, a checkpoint after it; knows nothing of Ray."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyarrow import parquet
from transformers import AutoModel, AutoModelForSequenceClassification

from sentiment_ray.encoding import TextEncoder, encode, length_sorted_batches, load_encoder, pad
from sentiment_ray.labels import label2id
from sentiment_ray.metrics import classification_metrics, confusion_counts
from sentiment_ray.train.batches import evaluation_batches
from sentiment_ray.train.model import load_tokenizer_files, logits_of
from sentiment_ray.train.rows import window_of
from sentiment_ray.truncation import Truncation

METHOD = "nearest label by embedding"
DESCRIPTION = "The sentiment of this text is {label}."
TOKENS_PER_BATCH = 4096
MAX_ROWS = 2000


def base_model_metrics(model: str, split: Path, labels: Sequence[str], *, max_tokens: int) -> dict[str, Any]:
    """Return method, split, rows, accuracy and macro_f1 of a base model on up to 2,000 rows of a split, untrained.

    A text gets the label whose description has the nearest embedding (mean of the last hidden states, cosine).
    """
    with tempfile.TemporaryDirectory() as workspace:
        load_tokenizer_files(model, Path(workspace))
        encoder = load_encoder(Path(workspace) / "tokenizer.json", max_tokens=max_tokens)
    network = AutoModel.from_pretrained(model, trust_remote_code=False, use_safetensors=True).eval()
    table = parquet.read_table(split, columns=["text", "label"])
    table = table.take(np.unique(np.linspace(0, len(table) - 1, num=min(MAX_ROWS, len(table))).astype(np.int64)))
    ids = label2id(labels)
    label_ids = np.array([ids[label] for label in table.column("label").to_pylist()], dtype=np.int64)
    texts = _embed(network, encoder, table.column("text").to_pylist())
    descriptions = _embed(network, encoder, [DESCRIPTION.format(label=label) for label in labels])
    predicted_ids = (texts @ descriptions.T).argmax(axis=1)
    metrics = classification_metrics(confusion_counts(label_ids, predicted_ids, len(labels)))
    return {"method": METHOD, "split": split.name, **metrics}


@torch.no_grad()
def checkpoint_metrics(
    checkpoint: Path,
    split: Path,
    labels: Sequence[str],
    *,
    max_tokens: int,
    truncation: Truncation,
    steps: Sequence[str] = (),
) -> dict[str, Any]:
    """Return split, rows, accuracy and macro_f1 of a checkpoint on every row of a split."""
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=max_tokens, truncation=truncation, steps=steps)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, use_safetensors=True).eval()
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    window = window_of(parquet.read_table(split, columns=["text", "label"]), labels)
    for batch in evaluation_batches(window, encoder, tokens_per_batch=TOKENS_PER_BATCH):
        logits = logits_of(model, batch, truncation, bf16=True)
        counts += confusion_counts(batch.label_ids.numpy(), logits.argmax(dim=1).numpy(), len(labels))
    return {"split": split.name, **classification_metrics(counts)}


@torch.no_grad()
def _embed(network: torch.nn.Module, encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return unit vectors float32 `(texts, width)`."""
    encoded = encode(encoder, texts)
    vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(texts)
    for batch in length_sorted_batches(encoded.lengths, tokens_per_batch=TOKENS_PER_BATCH):
        input_ids, mask = (
            torch.from_numpy(array) for array in pad([encoded.ids[row] for row in batch], pad_id=encoder.pad_id)
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = network(input_ids=input_ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).float()
        means = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
        for row, vector in zip(batch, torch.nn.functional.normalize(means).numpy(), strict=True):
            vectors[row] = vector
    return np.stack(vectors)
