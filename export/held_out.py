"""Scores held-out reviews with torch: every file of a bundle is compared with these scores. Knows no ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyarrow import parquet

from export.bounds import MIN_LABEL_ROWS, describe_few_rows
from export.config import ExportConfig
from export.static_calibration import StaticCalibration, choose_static_calibration
from export.suite import explain_no_suite
from sentiment_ray.cpu_quota import count_usable_cpus
from sentiment_ray.errors import DataError
from sentiment_ray.inference.behaviour import Case, load_cases
from sentiment_ray.inference.scoring import Scores, compute_probabilities, score_texts
from sentiment_ray.labels import label2id
from sentiment_ray.manifest import read_json
from sentiment_ray.metrics.temperature import TEMPERATURES, fit_temperature
from sentiment_ray.pretrained.load import load_classifier
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import TextEncoder

MIN_CALIBRATION_ROWS = 30
"""With fewer rows, one wrong answer moves the temperature by more than calibration gains."""


@dataclass(frozen=True)
class HeldOut:
    """Validation reviews with their int64 label ids `(texts,)`, the cases of the suite, and torch's scores of both.

    All scores come from logits that were divided by `temperature`. Without validation reviews, `split` is "train": the
    reviews are those that the model was trained on. `not_measured` has a line for each figure that the reviews are too
    few for, or that the suite cannot tell, and `not_judged` the keys of the bounds that therefore do not count.
    """

    texts: list[str]
    label_ids: NDArray[np.int64]
    scores: Scores
    cases: tuple[Case, ...]
    case_scores: Scores
    temperature: float
    calibration: dict[str, Any] = field(default_factory=dict)
    """The `rows` that the `temperature` was fitted on, and the `reason` why it is 1; None where it was fitted."""
    split: str = "validation"
    not_measured: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()
    static_calibration: StaticCalibration | None = None
    """The reviews for int8_static, where it is wanted."""


class TorchEngine:
    """The checkpoint in torch and fp32, with the interface of an engine."""

    name = "torch"

    def __init__(self, checkpoint: Path) -> None:
        self._model = load_classifier(checkpoint)

    @torch.no_grad()
    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.inference.engines.Engine`."""
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return self._model(input_ids=ids, attention_mask=mask).logits.float().numpy()


def score_held_out(
    config: ExportConfig, prepared: Path, checkpoint: Path, encoder: TextEncoder, labels: tuple[str, ...]
) -> HeldOut:
    """Score validation reviews and the suite with torch, and fit the temperature. DataError without any reviews."""
    limit_torch_threads()
    manifest = read_json(prepared / "prepared.json")
    split = "validation" if manifest["counts"]["validation"] else "train"
    texts, label_ids = _read_reviews(prepared, split, labels)
    engine = TorchEngine(checkpoint)
    gate_rows = evenly_spaced_rows(len(texts), config.gate_rows)
    fit_rows = (
        evenly_spaced_rows(len(texts), config.calibration_rows)
        if config.calibrate and split == "validation"
        else gate_rows[:0]
    )
    rows = np.union1d(gate_rows, fit_rows)
    scores = score_texts(engine, encoder, [texts[row] for row in rows])
    fit = np.isin(rows, fit_rows)
    calibration = choose_temperature(scores.logits[fit], label_ids[fit_rows], calibrate=config.calibrate)
    temperature = calibration["temperature"]
    cases = load_cases()
    case_scores = score_texts(engine, encoder, [case.text for case in cases])
    no_suite = explain_no_suite(cases, case_scores.label_ids, labels, manifest.get("config", {}).get("language"))
    rare_labels = _describe_rare_labels(label_ids[gate_rows], labels)
    limits = (_describe_training_rows(split), describe_few_rows(len(gate_rows), config), rare_labels, no_suite)
    unfit = {"max_macro_f1_drop": rare_labels, "max_suite_drop": no_suite}
    gate_texts = [texts[row] for row in gate_rows]
    wants_static = "int8_static" in config.variants
    return HeldOut(
        texts=gate_texts,
        label_ids=label_ids[gate_rows],
        scores=_divide_logits(_take_rows(scores, np.isin(rows, gate_rows)), temperature),
        cases=cases,
        case_scores=_divide_logits(case_scores, temperature),
        temperature=temperature,
        calibration=calibration,
        split=split,
        not_measured=tuple(line for line in limits if line),
        not_judged=tuple(bound for bound, reason in unfit.items() if reason),
        static_calibration=choose_static_calibration(prepared, gate_texts, split) if wants_static else None,
    )


def limit_torch_threads() -> None:
    """Let torch start no more threads than the CPU quota allows. It knows only the cores."""
    torch.set_num_threads(min(torch.get_num_threads(), count_usable_cpus()))


def _describe_training_rows(split: str) -> str | None:
    """Return a line where the gate's reviews are not held out, or None."""
    if split == "validation":
        return None
    return "accuracy and macro-F1 on new reviews: there are no validation rows, so it used training rows"


def _describe_rare_labels(label_ids: NDArray[np.int64], labels: tuple[str, ...]) -> str | None:
    """Return a line that names the labels with few rows among the gate's reviews, or None."""
    counts = np.bincount(label_ids, minlength=len(labels))
    few = [f"{count} of {label!r}" for label, count in zip(labels, counts, strict=True) if count < MIN_LABEL_ROWS]
    return f"macro-F1: it needs {MIN_LABEL_ROWS} rows of each label and has {', '.join(few)}" if few else None


def choose_temperature(
    logits: NDArray[np.float32], label_ids: NDArray[np.int64], *, calibrate: bool = True
) -> dict[str, Any]:
    """Return the `temperature` for logits `(rows, labels)`, the number of `rows`, and the `reason` where it is 1.

    It is 1 where the rows cannot tell: too few of them, none wrong, or a search that ends at one of its bounds.
    """
    temperature, reason = 1.0, None
    if not calibrate:
        reason = "calibrate = false"
    elif len(label_ids) < MIN_CALIBRATION_ROWS:
        reason = f"{len(label_ids)} validation rows are fewer than the {MIN_CALIBRATION_ROWS} that it needs"
    elif np.array_equal(logits.argmax(axis=1), label_ids):
        reason = f"the answers on all {len(label_ids):,} validation rows are right"
    else:
        # Three decimals, so that the last bits of a sum do not change the bundle.
        fitted = round(fit_temperature(logits, label_ids), 3)
        lowest, highest = TEMPERATURES
        if lowest * 1.01 < fitted < highest / 1.01:
            temperature = fitted
        else:
            reason = f"the search on {len(label_ids):,} validation rows ended at its bound {fitted:g}"
    return {"temperature": temperature, "rows": len(label_ids), "reason": reason}


def _read_reviews(prepared: Path, split: str, labels: tuple[str, ...]) -> tuple[list[str], NDArray[np.int64]]:
    if not (prepared / split).is_dir():
        raise DataError(f"{prepared}/{split} is missing. The gate needs reviews: prepare them again.")
    table = parquet.read_table(prepared / split, columns=["text", "label"])
    ids = label2id(labels)
    return table["text"].to_pylist(), np.array([ids[label] for label in table["label"].to_pylist()], dtype=np.int64)


def _take_rows(scores: Scores, rows: NDArray[np.bool_]) -> Scores:
    columns: Sequence[str] = tuple(vars(scores))
    return Scores(**{name: getattr(scores, name)[rows] for name in columns})


def _divide_logits(scores: Scores, temperature: float) -> Scores:
    logits = scores.logits / np.float32(temperature)
    return replace(scores, logits=logits, probabilities=compute_probabilities(logits))
