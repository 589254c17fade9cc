"""Profiles of scored texts: counts that can be added and compared; keeps no text and knows no files."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.scoring import Scores

MEASURES = ("labels", "confidence", "tokens", "script", "words")
"""The parts of a profile that are compared, each a dictionary of counts by bin."""
SCRIPTS = ("latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "cjk", "hangul", "thai")
MIN_MOVED_INDEX, MAX_MOVED_INDEX = 0.1, 0.25
"""A population stability index below the first is usually called stable, one above the second a drift."""
NUM_CONFIDENCE_BINS = 20


def compute_profile(texts: Sequence[str], scores: Scores, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return counts over some texts and their scores, ready for JSON.

    `rows` and `truncated` count texts. The other counts are by bin: `labels`; `confidence`, the probability of the
    label; `tokens` of a text, special ones included; `script` of its first letter; and `words`, the known and unknown
    tokens of all texts.
    """
    num_tokens, num_unknown = int(scores.tokens.sum()), int(scores.unknown.sum())
    num_by_label = np.bincount(scores.label_ids, minlength=len(labels))
    return {
        "rows": len(texts),
        "truncated": int(scores.truncated.sum()),
        "labels": {label: int(count) for label, count in zip(labels, num_by_label, strict=True)},
        "confidence": _count_confidence_bins(scores.probabilities),
        "tokens": _count_token_bins(scores.tokens),
        "script": _count_scripts(texts),
        "words": {"known": num_tokens - num_unknown, "unknown": num_unknown},
    }


def name_token_bin(num_tokens: int) -> str:
    """Return the name of the bin for a text's length; bins end at powers of two, the first at 4."""
    last = max(4, 1 << (num_tokens - 1).bit_length())
    return f"{last // 2 + 1}-{last}" if last > 4 else "1-4"


def add_profiles(profiles: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of profiles; the sum of none has no rows."""
    total: dict[str, Any] = {"rows": 0, "truncated": 0} | {measure: {} for measure in MEASURES}
    for profile in profiles:
        for key in ("rows", "truncated"):
            total[key] += profile[key]
        for measure in MEASURES:
            counts = total[measure]
            for name, count in profile[measure].items():
                counts[name] = counts.get(name, 0) + count
    return total


def compute_drift(reference: dict[str, Any], profile: dict[str, Any]) -> dict[str, float]:
    """Return the population stability index of each measure, which compares the shares of its bins.

    It is the sum over bins of (p - q) * ln(p / q) (Yurdakul, "Statistical Properties of Population Stability Index",
    2018, https://scholarworks.wmich.edu/dissertations/3208). Half a row is added to every bin on both sides, so that an
    empty bin gives a finite index. A measure without rows on one side is left out.
    """
    drift = {}
    for measure in MEASURES:
        expected, observed = _align_bins(reference, profile, measure)
        if expected.sum() and observed.sum():
            q, p = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, observed))
            drift[measure] = round(float(((p - q) * np.log(p / q)).sum()), 4)
    return drift


def compute_chance_drift(reference: dict[str, Any], profile: dict[str, Any]) -> dict[str, float]:
    """Return for each measure the index that chance alone explains.

    Two samples of the same source stay below it about nine times in ten: their index is near (1/n + 1/m) times a
    chi-squared variable with one degree of freedom less than there are bins (Yurdakul, 2018). Tokens of one text depend
    on each other, so n and m count texts for `words` too.
    """
    per_row = 1 / max(reference["rows"], 1) + 1 / max(profile["rows"], 1)
    chance = {}
    for measure in MEASURES:
        freedom = max(len(_align_bins(reference, profile, measure)[0]) - 1, 0)
        chance[measure] = round(per_row * (freedom + 1.645 * math.sqrt(2 * freedom)), 4)
    return chance


def describe_drift(index: float) -> str:
    """Return the usual word for a population stability index: stable, moved or drifted."""
    if index > MAX_MOVED_INDEX:
        return "drifted"
    return "moved" if index >= MIN_MOVED_INDEX else "stable"


def _align_bins(
    reference: dict[str, Any], profile: dict[str, Any], measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the counts of both profiles, float64 `(bins,)` each, for the bins that are not empty in both."""
    counts, other_counts = reference[measure], profile[measure]
    names = [name for name in counts | other_counts if counts.get(name) or other_counts.get(name)]
    expected, observed = (
        np.array([side.get(name, 0) for name in names], dtype=np.float64) for side in (counts, other_counts)
    )
    return expected, observed


def _count_confidence_bins(probabilities: NDArray[np.float32]) -> dict[str, int]:
    """Count texts by the largest of their float32 probabilities `(texts, labels)`, in equal bins from 0 to 1."""
    bins = (probabilities.max(axis=1) * NUM_CONFIDENCE_BINS).astype(np.int64)
    counts = np.bincount(np.minimum(bins, NUM_CONFIDENCE_BINS - 1), minlength=NUM_CONFIDENCE_BINS)
    width = 1 / NUM_CONFIDENCE_BINS
    return {f"{index * width:.2f}-{(index + 1) * width:.2f}": int(count) for index, count in enumerate(counts)}


def _count_token_bins(tokens: NDArray[np.int32]) -> dict[str, int]:
    """Count texts by bin of their int32 numbers of tokens `(texts,)`; empty bins are left out."""
    bins: dict[str, int] = {}
    for length, count in zip(*np.unique(tokens, return_counts=True), strict=True):
        name = name_token_bin(int(length))
        bins[name] = bins.get(name, 0) + int(count)
    return bins


def _count_scripts(texts: Sequence[str]) -> dict[str, int]:
    """Count texts by the script of their first letter; a letter that comes often is looked up only once."""
    scripts: dict[str, int] = {}
    for letter, count in Counter(map(_first_letter, texts)).most_common():
        name = _find_script(letter)
        scripts[name] = scripts.get(name, 0) + count
    return scripts


def _first_letter(text: str) -> str:
    return next(filter(str.isalpha, text), "")


def _find_script(letter: str) -> str:
    """Return the script that the Unicode name of a letter has, such as HALFWIDTH KATAKANA LETTER A."""
    if not letter:
        return "none"
    for word in unicodedata.name(letter, "").lower().replace("-", " ").split():
        if word in ("hiragana", "katakana"):
            return "kana"
        if word in SCRIPTS:
            return word
    return "other"
