"""Compares an ONNX file with torch on held-out reviews and the suite. Does not know how the file was made.

Texts go through the same functions as in scoring and serving: `encoding.encode` and `scoring.score_texts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bounds import list_missed_bounds
from export.config import ExportConfig
from export.held_out import HeldOut
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.inference.behaviour import count_passed_cases
from sentiment_ray.inference.engines import Engine
from sentiment_ray.inference.invariance import join_long_texts, make_record, try_texts
from sentiment_ray.inference.scoring import Scores, compute_probabilities, restore_order, score_texts
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.metrics.intervals import bootstrap, bootstrap_difference, wilson_interval
from sentiment_ray.text.batching import pad
from sentiment_ray.text.encoding import TextEncoder, encode, pool_logits

PADDED_ROWS = 32
"""Rows of one padded batch, whose lengths differ as in the batches of other tools."""


@dataclass(frozen=True)
class GateResult:
    """The entry `gate` of the manifest, and the engine's scores of the reviews and of the suite's cases."""

    gate: dict[str, Any]
    scores: Scores
    case_scores: Scores


def check(
    engine: Engine, encoder: TextEncoder, held_out: HeldOut, labels: tuple[str, ...], config: ExportConfig
) -> GateResult:
    """Compare an engine that runs a file with torch, and say whether it passed the bounds of the configuration.

    In the gate, `batches` says how far answers move when a text is scored alone or padded, `suite` the share of cases
    that pass by capability, and `missed` every bound that was missed, with the figure and its interval: `export.bounds`
    has the rules. `not_measured` and `not_judged` are those of the HeldOut. `batch_invariance` says, of a file that
    passed, whether each text got the same bits in every batch.
    """
    scores = score_texts(engine, encoder, held_out.texts)
    case_scores = score_texts(engine, encoder, [case.text for case in held_out.cases])
    gate = compare(scores, held_out.scores, held_out.label_ids)
    alone = score_alone(engine, encoder, held_out.texts[: config.batch_rows])
    gate["batches"] = compare_batches(engine, encoder, held_out.texts[: config.batch_rows], scores, alone)
    suite = count_passed_cases(held_out.cases, case_scores.label_ids, labels)
    expected = count_passed_cases(held_out.cases, held_out.case_scores.label_ids, labels)
    gate["suite"] = {name: result["share"] for name, result in suite["by_capability"].items()}
    gate["suite_share"] = suite["share"]
    gate["suite_drop"] = (expected["share"] or 0) - (suite["share"] or 0)
    gate["split"] = held_out.split
    gate["not_measured"], gate["not_judged"] = list(held_out.not_measured), list(held_out.not_judged)
    gate["missed"] = list_missed_bounds(gate, config)
    gate["passed"] = not gate["missed"]
    if gate["passed"]:
        gate["batch_invariance"] = try_batch_invariance(engine, encoder, held_out.texts, scores, alone)
    return GateResult(gate, scores, case_scores)


def compare(scores: Scores, reference: Scores, label_ids: NDArray[np.int64]) -> dict[str, Any]:
    """Return how far scores are from torch's, their metrics, and the loss of macro-F1, with 95 % intervals."""
    difference = np.abs(scores.probabilities - reference.probabilities)
    num_rows, num_labels = scores.logits.shape
    metrics, reference_metrics = (
        classification_metrics(confusion_counts(label_ids, side.label_ids, num_labels)) for side in (scores, reference)
    )
    drop = bootstrap_difference(label_ids, reference.label_ids, scores.label_ids, num_labels=num_labels, seed=0)
    num_same = int((scores.label_ids == reference.label_ids).sum())
    by_row = difference.mean(axis=1, dtype=np.float64)
    mean = bootstrap(lambda weights: {"difference": weights @ by_row / num_rows}, num_rows, seed=0)
    return {
        "rows": num_rows,
        "label_agreement": num_same / num_rows,
        "label_agreement_interval": wilson_interval(num_same, num_rows),
        "mean_probability_difference": float(difference.mean()),
        "mean_probability_difference_interval": mean["intervals"]["difference"],
        "max_probability_difference": float(difference.max()),
        "max_logit_difference": float(np.abs(scores.logits - reference.logits).max()),
        "accuracy": metrics["accuracy"],
        "macro_f1": metrics["macro_f1"],
        "macro_f1_drop": reference_metrics["macro_f1"] - metrics["macro_f1"],
        "macro_f1_drop_interval": drop["intervals"]["macro_f1"],
    }


def score_alone(engine: Engine, encoder: TextEncoder, texts: Sequence[str]) -> Scores:
    """Return the scores of texts of which each is scored alone."""
    singles = ((np.array([index]), score_texts(engine, encoder, [text])) for index, text in enumerate(texts))
    return restore_order(singles, len(texts))


def try_batch_invariance(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], scores: Scores, alone: Scores
) -> dict[str, Any]:
    """Return what the manifest says of a trial whether texts get the same bits in every batch.

    `scores` are those of the texts together, and `alone` those of the first ones alone. Joined texts are added where
    none is as long as the model reads.
    """
    joined = join_long_texts(encoder, texts)
    together = [scores.logits, *([score_texts(engine, encoder, joined).logits] if joined else [])]
    trial = try_texts(
        engine,
        encoder,
        [*texts, *joined],
        tokens_per_batch=ENGINES[engine.name].batching.tokens_per_batch,
        together=np.concatenate(together),
        alone=alone.logits,
    )
    return make_record(trial, engine.name)


def compare_batches(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], scores: Scores, alone: Scores
) -> dict[str, Any]:
    """Return how many labels change, and how far probabilities move, when texts are scored alone or in padded batches.

    The first rows of `scores` are those of `texts`, batched as this project does: the padding depends only on a text's
    own length. `alone` has the scores of each text alone. Other tools pad to the longest text of a batch. Dynamic int8
    takes its scale from the whole batch (onnxruntime#10111).
    """
    batched = scores.probabilities[: len(texts)]
    padded = _score_padded(engine, encoder, texts)
    result: dict[str, Any] = {"rows": len(texts)}
    for name, probabilities in (("alone", alone.probabilities), ("padded", padded)):
        result[f"flips_{name}"] = int((probabilities.argmax(axis=1) != batched.argmax(axis=1)).sum())
        result[f"max_difference_{name}"] = float(np.abs(probabilities - batched).max())
    return result


def _score_padded(engine: Engine, encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    encoded = encode(encoder, texts)
    batches = [encoded.ids[start : start + PADDED_ROWS] for start in range(0, len(encoded.ids), PADDED_ROWS)]
    logits = np.concatenate([engine.logits(*pad(batch, pad_id=encoder.pad_id)) for batch in batches])
    return compute_probabilities(pool_logits(logits, encoded.text_indices, encoder.truncation))
