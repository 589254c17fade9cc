"""The checks of texts: each function marks the texts with one kind of flaw. Nothing is changed or dropped.

Every `has_x` takes texts, an Arrow array of strings, and returns a mask, bool `(texts,)`. The table of checks names
them. Patterns are RE2's.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import is_bad
from numpy.typing import NDArray

from sentiment_ray.data.check_table import TEXT_CHECKS

MAX_MOJIBAKE_CHARACTERS = 10_000
"""Characters at the start of a text that are searched for mojibake."""


def flag_texts(texts: pa.Array) -> NDArray[np.bool_]:
    """Return which of TEXT_CHECKS apply to each text: bool `(checks, texts)`."""
    return np.stack([check.load_function()(texts) for check in TEXT_CHECKS])


def has_url(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts with a link."""
    return _matches(texts, r"(?i)\bhttps?://\S|\bwww\.\S")


def has_html(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts with HTML tags or entities."""
    return _matches(texts, r"(?i)</?[a-z][a-z0-9]*(\s[^<>]*)?/?>|&(#\d+|#x[0-9a-f]+|[a-z]+[0-9]*);")


def has_handle(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts with an @handle."""
    return _matches(texts, r"(^|[^\w@])@\w")


def has_extra_space(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts with white space at an end, or several of it in a row."""
    return _matches(texts, r"^[\s\pZ]|[\s\pZ]$|[\s\pZ]{2}")


def has_no_letter(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts without a letter of any script."""
    return ~_matches(texts, r"\pL")


def has_lost_letters(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts in which an earlier reader replaced letters by U+FFFD: no cleaning step brings them back."""
    return _matches(texts, "\ufffd")


def has_mojibake(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts that ftfy's heuristic calls mojibake. Texts with lost letters have a check of their own."""
    is_mojibake = np.zeros(len(texts), dtype=np.bool_)
    # Only a text with letters outside ASCII can be mojibake, and few texts have them.
    is_ascii = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    candidates = np.flatnonzero(~is_ascii & ~has_lost_letters(texts))
    is_mojibake[candidates] = [
        bool(is_bad(text[:MAX_MOJIBAKE_CHARACTERS])) for text in texts.take(pa.array(candidates)).to_pylist()
    ]
    return is_mojibake


def count_words(texts: pa.Array) -> NDArray[np.int64]:
    """Return the number of words of each text, runs of characters without white space: int64 `(texts,)`."""
    return pc.count_substring_regex(texts, r"[^\s\pZ]+").to_numpy(zero_copy_only=False).astype(np.int64)


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
