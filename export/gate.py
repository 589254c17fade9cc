"""Compares an ONNX file with torch on held-out reviews and the suite; knows nothing of how the file was made.

Texts go through the same functions as in scoring and serving: `encoding.encode` and `predictor.score_texts`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.config import ExportConfig
from export.held_out import HeldOut
from sentiment_ray.inference.behaviour import results_of
from sentiment_ray.inference.engines import Engine
from sentiment_ray.inference.predictor import Scores, probabilities_of, score_texts
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.metrics.intervals import bootstrap_difference
from sentiment_ray.text.encoding import TextEncoder, encode, pad, pool_logits

PADDED_ROWS = 32
"""Rows of a batch whose lengths differ, as other tools make them."""


def check(
    engine: Engine, encoder: TextEncoder, held_out: HeldOut, labels: tuple[str, ...], config: ExportConfig
) -> tuple[dict[str, Any], Scores, Scores]:
    """Return how an engine with a file compares with torch, whether it passed, and its scores of reviews and suite.

    `batches` has how far a text's answer moves alone and padded, `suite` what of it is right by capability. `missed`
    names every bound that was missed, with what was found.
    """
    scores = score_texts(engine, encoder, held_out.texts)
    case_scores = score_texts(engine, encoder, [case.text for case in held_out.cases])
    found = compare(scores, held_out.scores, held_out.label_ids)
    found["batches"] = compare_batches(engine, encoder, held_out.texts[: config.batch_rows], scores)
    suite = results_of(held_out.cases, case_scores.label_ids, labels)
    expected = results_of(held_out.cases, held_out.case_scores.label_ids, labels)
    found["suite"] = {name: result["share"] for name, result in suite["by_capability"].items()}
    found["suite_share"] = suite["share"]
    found["suite_drop"] = (expected["share"] or 0) - (suite["share"] or 0)
    found["missed"] = missed_bounds(found, config)
    found["passed"] = not found["missed"]
    return found, scores, case_scores


def compare(scores: Scores, reference: Scores, label_ids: NDArray[np.int64]) -> dict[str, Any]:
    """Return how far scores are from torch's, and their metrics, the loss of macro-F1 with a 95 % interval."""
    difference = np.abs(scores.probabilities - reference.probabilities)
    num_labels = scores.logits.shape[1]
    metrics, reference_metrics = (
        classification_metrics(confusion_counts(label_ids, side.label_ids, num_labels)) for side in (scores, reference)
    )
    drop = bootstrap_difference(label_ids, reference.label_ids, scores.label_ids, num_labels=num_labels, seed=0)
    return {
        "rows": len(label_ids),
        "label_agreement": float((scores.label_ids == reference.label_ids).mean()),
        "mean_probability_difference": float(difference.mean()),
        "max_probability_difference": float(difference.max()),
        "max_logit_difference": float(np.abs(scores.logits - reference.logits).max()),
        "accuracy": metrics["accuracy"],
        "macro_f1": metrics["macro_f1"],
        "macro_f1_drop": reference_metrics["macro_f1"] - metrics["macro_f1"],
        "macro_f1_drop_interval": drop["intervals"]["macro_f1"],
    }


def compare_batches(engine: Engine, encoder: TextEncoder, texts: Sequence[str], scores: Scores) -> dict[str, Any]:
    """Return labels that change and how far probabilities move when each text is scored alone, and in padded batches.

    `scores` start with those of `texts` as this project batches them, padded by a text's own length alone; other tools
    that load the bundle pad to the longest of a batch. Dynamic int8 takes its scale from the whole batch
    (onnxruntime#10111).
    """
    together = scores.probabilities[: len(texts)]
    alone = np.concatenate([score_texts(engine, encoder, [text]).probabilities for text in texts])
    padded = _padded_probabilities(engine, encoder, texts)
    result: dict[str, Any] = {"rows": len(texts)}
    for name, found in (("alone", alone), ("padded", padded)):
        result[f"flips_{name}"] = int((found.argmax(axis=1) != together.argmax(axis=1)).sum())
        result[f"max_difference_{name}"] = float(np.abs(found - together).max())
    return result


def missed_bounds(found: dict[str, Any], config: ExportConfig) -> list[str]:
    """Return a line for each bound of the configuration that a comparison missed."""
    batches = found["batches"]
    at_most = {
        "max_mean_difference": found["mean_probability_difference"],
        "max_macro_f1_drop": found["macro_f1_drop"],
        "max_suite_drop": found["suite_drop"],
        "max_batch_flips": batches["flips_alone"],
        "max_batch_difference": max(batches["max_difference_alone"], batches["max_difference_padded"]),
    }
    missed = [
        f"{name} = {getattr(config, name):g}, found {value:.4g}"
        for name, value in at_most.items()
        if not value <= getattr(config, name)  # nor is a nan
    ]
    if found["label_agreement"] < config.min_agreement:
        missed.append(f"min_agreement = {config.min_agreement:g}, found {found['label_agreement']:.4g}")
    return missed


def _padded_probabilities(engine: Engine, encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    encoded = encode(encoder, texts)
    batches = [encoded.ids[start : start + PADDED_ROWS] for start in range(0, len(encoded.ids), PADDED_ROWS)]
    logits = np.concatenate([engine.logits(*pad(batch, pad_id=encoder.pad_id)) for batch in batches])
    return probabilities_of(pool_logits(logits, encoded.texts, encoder.truncation))
