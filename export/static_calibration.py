"""Chooses the reviews that int8_static measures its activations on: none that its gate uses. Knows no ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import dataset

from sentiment_ray.sampling import evenly_spaced_rows

MAX_TEXTS = 1000
"""Texts to choose from by length."""
CALIBRATION_TEXTS = 96
"""Texts that activations are measured on."""


@dataclass(frozen=True)
class StaticCalibration:
    """The texts, the split that they are from, and the reason why they are few or not new to the gate, if so."""

    texts: list[str]
    split: str
    reason: str | None

    def describe(self) -> dict[str, Any]:
        """Return what bundle.json says of it: the `split`, the number of `rows`, and the `reason`."""
        return {"split": self.split, "rows": min(len(self.texts), CALIBRATION_TEXTS), "reason": self.reason}


def choose_static_calibration(prepared: Path, gate_texts: Sequence[str], gate_split: str) -> StaticCalibration:
    """Return training reviews that are not among those of the gate; where there are none, those of the gate.

    The temperature is fitted on validation reviews, so the training reviews are disjoint from these too.
    """
    train = dataset.dataset(prepared / "train", format="parquet")
    rows = evenly_spaced_rows(train.count_rows(), MAX_TEXTS + len(gate_texts))
    known = set(gate_texts)
    candidates = train.scanner(columns=["text"]).take(rows)["text"].to_pylist()
    texts = [text for text in candidates if text not in known][:MAX_TEXTS]
    if not texts:
        return StaticCalibration(list(gate_texts), gate_split, "no training rows are left beside those of its gate")
    reason = f"only {len(texts)} training rows are not in its gate" if len(texts) < CALIBRATION_TEXTS else None
    return StaticCalibration(texts, "train", reason)
