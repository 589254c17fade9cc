"""What a scored corpus looks like, as counts that can be added and compared; keeps no text and knows no files."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.predictor import Scores

MEASURES = ("labels", "confidence", "tokens", "script", "words")
"""The parts of a profile that are compared, each a dictionary of counts by bin."""
SCRIPTS = ("latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "cjk", "hangul", "thai")
MOVED, DRIFTED = 0.1, 0.25
"""Population stability indexes at which a measure is read as moved, and as drifted."""
NUM_CONFIDENCE_BINS = 20


def profile_of(texts: Sequence[str], scores: Scores, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the counts of some texts and their scores, ready for JSON.

    `rows` and `truncated` are texts. By bin: `labels`; `confidence`, the probability of the label; `tokens` of a text,
    special ones included; `script` of its first letter; `words`, tokens that the tokenizer knows or does not.
    """
    num_tokens, num_unknown = int(scores.tokens.sum()), int(scores.unknown.sum())
    num_by_label = np.bincount(scores.label_ids, minlength=len(labels))
    return {
        "rows": len(texts),
        "truncated": int(scores.truncated.sum()),
        "labels": {label: int(count) for label, count in zip(labels, num_by_label, strict=True)},
        "confidence": _confidence_bins(scores.probabilities),
        "tokens": _token_bins(scores.tokens),
        "script": _scripts(texts),
        "words": {"known": num_tokens - num_unknown, "unknown": num_unknown},
    }


def token_bin_of(num_tokens: int) -> str:
    """Return the bin of a text's length; bins end at powers of two, the first at 4."""
    last = max(4, 1 << (num_tokens - 1).bit_length())
    return f"{last // 2 + 1}-{last}" if last > 4 else "1-4"


def add_profiles(profiles: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the profile of all texts together; that of no texts when there are none."""
    total: dict[str, Any] = {"rows": 0, "truncated": 0} | {measure: {} for measure in MEASURES}
    for profile in profiles:
        for key in ("rows", "truncated"):
            total[key] += profile[key]
        for measure in MEASURES:
            counts = total[measure]
            for name, count in profile[measure].items():
                counts[name] = counts.get(name, 0) + count
    return total


def drift_of(reference: dict[str, Any], profile: dict[str, Any]) -> dict[str, float]:
    """Return the population stability index of each measure: how far the shares of its bins are from the reference's.

    It is the sum over bins of (p - q) * ln(p / q) (Yurdakul, "Statistical Properties of Population Stability Index",
    2018, https://scholarworks.wmich.edu/dissertations/3208). Half a row is added to every bin that either side has, so
    that an empty one has a finite answer. Measures are left out where either side has no rows.
    """
    drift = {}
    for measure in MEASURES:
        expected, found = _paired(reference, profile, measure)
        if expected.sum() and found.sum():
            q, p = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, found))
            drift[measure] = round(float(((p - q) * np.log(p / q)).sum()), 4)
    return drift


def chance_of(reference: dict[str, Any], profile: dict[str, Any]) -> dict[str, float]:
    """Return the index that two samples of one and the same source stay below about nine times in ten.

    It is near (1/n + 1/m) times a chi-squared variable with one degree of freedom less than there are bins (Yurdakul,
    2018). Tokens of one text depend on each other, so for `words` as well the samples are counted in texts.
    """
    per_row = 1 / max(reference["rows"], 1) + 1 / max(profile["rows"], 1)
    chance = {}
    for measure in MEASURES:
        freedom = max(len(_paired(reference, profile, measure)[0]) - 1, 0)
        chance[measure] = round(per_row * (freedom + 1.645 * math.sqrt(2 * freedom)), 4)
    return chance


def reading_of(index: float) -> str:
    """Return how a population stability index is usually read: stable, moved or drifted."""
    if index > DRIFTED:
        return "drifted"
    return "moved" if index >= MOVED else "stable"


def _paired(
    reference: dict[str, Any], profile: dict[str, Any], measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two float64 `(bins,)` of counts, of the bins that at least one of the two profiles has rows in."""
    sides = [profile_[measure] for profile_ in (reference, profile)]
    names = [name for name in sides[0] | sides[1] if any(side.get(name) for side in sides)]
    first, second = (np.array([side.get(name, 0) for name in names], dtype=np.float64) for side in sides)
    return first, second


def _confidence_bins(probabilities: NDArray[np.float32]) -> dict[str, int]:
    """Count float32 probabilities `(texts, labels)` by the largest of each text, in equal bins from 0 to 1."""
    places = (probabilities.max(axis=1) * NUM_CONFIDENCE_BINS).astype(np.int64)
    counts = np.bincount(np.minimum(places, NUM_CONFIDENCE_BINS - 1), minlength=NUM_CONFIDENCE_BINS)
    width = 1 / NUM_CONFIDENCE_BINS
    return {f"{place * width:.2f}-{(place + 1) * width:.2f}": int(count) for place, count in enumerate(counts)}


def _token_bins(tokens: NDArray[np.int32]) -> dict[str, int]:
    """Count int32 `(texts,)` by bin; bins without texts are left out."""
    bins: dict[str, int] = {}
    for length, count in zip(*np.unique(tokens, return_counts=True), strict=True):
        name = token_bin_of(int(length))
        bins[name] = bins.get(name, 0) + int(count)
    return bins


def _scripts(texts: Sequence[str]) -> dict[str, int]:
    """Count texts by the script of their first letter; names are looked up once for each letter, not for each text."""
    scripts: dict[str, int] = {}
    for letter, count in Counter(map(_first_letter, texts)).most_common():
        name = _script_of(letter)
        scripts[name] = scripts.get(name, 0) + count
    return scripts


def _first_letter(text: str) -> str:
    return next(filter(str.isalpha, text), "")


def _script_of(letter: str) -> str:
    """Return the script that the Unicode name of a letter tells, as in HALFWIDTH KATAKANA LETTER A."""
    if not letter:
        return "none"
    for word in unicodedata.name(letter, "").lower().replace("-", " ").split():
        if word in ("hiragana", "katakana"):
            return "kana"
        if word in SCRIPTS:
            return word
    return "other"
