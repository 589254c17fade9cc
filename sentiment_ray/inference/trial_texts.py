"""Makes texts of the lengths that a bundle's reviews have, out of the sentences of the suite."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.behaviour import load_cases

LONGEST_EVERY = 50
"""Of so many texts one has the greatest length."""


def make_trial_texts(num_texts: int, *, max_tokens: int, reference: Mapping[str, int]) -> list[str]:
    """Return texts whose lengths are spread as those of a profile, always the same ones.

    `reference` is the profile's number of texts by token bin, such as {"5-8": 3}. Without it, the lengths are spread
    from 1 to `max_tokens` words, most of them short. The longest texts have at least `max_tokens` tokens.
    """
    words = " ".join(case.text for case in load_cases()).split()
    lengths = _spread_lengths(num_texts, max_tokens, reference)
    starts = np.cumsum(lengths) - lengths
    stream = np.resize(np.array(words, dtype=object), int(lengths.sum()))
    rng = np.random.default_rng(0)
    rng.shuffle(stream)
    return [" ".join(stream[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def _spread_lengths(num_texts: int, max_tokens: int, reference: Mapping[str, int]) -> NDArray[np.int64]:
    """Return numbers of words, int64 `(texts,)`; a word has one token or more."""
    rng = np.random.default_rng(0)
    bins = [(*map(int, name.split("-")), count) for name, count in reference.items() if count > 0]
    if bins:
        firsts, lasts, counts = np.array(bins, dtype=np.float64).T
        chosen = rng.choice(len(bins), size=num_texts, p=counts / counts.sum())
        lengths = rng.uniform(firsts[chosen], lasts[chosen] + 1)
    else:
        lengths = np.exp(rng.uniform(0, np.log(max_tokens), size=num_texts))
    words: NDArray[np.int64] = np.clip(lengths, 1, max_tokens).astype(np.int64)
    words[::LONGEST_EVERY] = max_tokens
    return words
