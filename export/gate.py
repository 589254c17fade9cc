"""Compares every ONNX file with torch on held-out reviews; knows nothing of how the files were made.

Texts go through the same functions as in scoring and serving: `encoding.encode` and `predictor.score_texts`.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from export.config import ExportConfig
from sentiment_ray.encoding import TextEncoder
from sentiment_ray.engines import available_engines, load_engine
from sentiment_ray.metrics import classification_metrics, confusion_counts
from sentiment_ray.predictor import Scores, score_texts


class TorchEngine:
    """The checkpoint itself, in fp32, behind the interface of the engines."""

    name = "torch"

    def __init__(self, checkpoint: Path) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, trust_remote_code=False, use_safetensors=True, local_files_only=True
        ).eval()

    @torch.no_grad()
    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.engines.Engine`."""
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return self._model(input_ids=ids, attention_mask=mask).logits.float().numpy()


def measure(
    model: Path,
    encoder: TextEncoder,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    reference: Scores,
    config: ExportConfig,
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], dict[str, Scores]]:
    """Run an ONNX file with every engine and return three dictionaries by engine: its gate, its bench, its scores.

    The gate holds differences from `reference`, torch's scores of the same texts, metrics against `label_ids`, and
    `passed`. The bench holds rows a second of a second pass over the same texts.
    """
    gates, benches, scores = {}, {}, {}
    for name in available_engines():
        engine = load_engine(name, model.read_bytes(), threads=config.threads, source=model)
        scores[name] = score_texts(engine, encoder, texts)
        gates[name] = compare(scores[name], reference, label_ids, config)
        # The first pass was the warm-up: engines compile and allocate for each shape that they meet.
        started = time.perf_counter()
        score_texts(engine, encoder, texts)
        seconds = time.perf_counter() - started
        benches[name] = {"rows_per_s": round(len(texts) / seconds, 1), "rows": len(texts), "threads": config.threads}
    return gates, benches, scores


def compare(scores: Scores, reference: Scores, label_ids: NDArray[np.int64], config: ExportConfig) -> dict[str, Any]:
    """Return how far scores are from torch's, their metrics, and whether they are within the configured bounds."""
    difference = np.abs(scores.probabilities - reference.probabilities)
    num_labels = scores.logits.shape[1]
    metrics = classification_metrics(confusion_counts(label_ids, scores.label_ids, num_labels))
    reference_metrics = classification_metrics(confusion_counts(label_ids, reference.label_ids, num_labels))
    agreement = float((scores.label_ids == reference.label_ids).mean())
    drop = reference_metrics["macro_f1"] - metrics["macro_f1"]
    mean_difference = float(difference.mean())
    return {
        "rows": len(label_ids),
        "label_agreement": agreement,
        "mean_probability_difference": mean_difference,
        "max_probability_difference": float(difference.max()),
        "max_logit_difference": float(np.abs(scores.logits - reference.logits).max()),
        "accuracy": metrics["accuracy"],
        "macro_f1": metrics["macro_f1"],
        "macro_f1_drop": drop,
        "passed": bool(
            agreement >= config.min_agreement
            and mean_difference <= config.max_mean_difference
            and drop <= config.max_macro_f1_drop
        ),
    }
