"""Marks what is odd about texts, a column at a time; a pure function of Arrow arrays that changes and drops nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import is_bad
from numpy.typing import NDArray

PATTERNS = {
    "url": r"(?i)\bhttps?://\S|\bwww\.\S",
    "html": r"(?i)</?[a-z][a-z0-9]*(\s[^<>]*)?/?>|&(#\d+|#x[0-9a-f]+|[a-z]+[0-9]*);",
    "handle": r"(^|[^\w@])@\w",
    "white_space": r"^[\s\pZ]|[\s\pZ]$|[\s\pZ]{2}",
    "lost_letters": "\ufffd",
}
"""RE2's spelling. Lost letters are those that an earlier reader replaced by U+FFFD: no step brings them back."""
FLAGS = (*PATTERNS, "mojibake", "no_letter")
FLAWS = ("mojibake", "lost_letters", "html", "no_letter")
"""Flags that are told as findings; the others are usual in reviews."""
TITLES = {
    "mojibake": "Wrongly decoded letters (mojibake)",
    "lost_letters": "Letters lost to U+FFFD",
    "no_letter": "No letter at all",
    "html": "HTML tags or entities",
    "url": "Links",
    "handle": "@handles",
    "white_space": "Superfluous white space",
}
LETTERS_READ = 10_000
"""Characters of a text that are searched for mojibake."""


def flags_of(texts: pa.Array) -> NDArray[np.bool_]:
    """Return which of FLAGS each text has: bool `(flags, texts)`. Mojibake is what ftfy's heuristic calls so."""
    found = [pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False) for pattern in PATTERNS.values()]
    # Only a text with letters outside ASCII can be mojibake, and few have them; lost letters are counted as such alone.
    is_lost = found[list(PATTERNS).index("lost_letters")]
    may_be = np.flatnonzero(~pc.string_is_ascii(texts).to_numpy(zero_copy_only=False) & ~is_lost)
    mojibake = np.zeros(len(texts), dtype=np.bool_)
    mojibake[may_be] = [bool(is_bad(text[:LETTERS_READ])) for text in texts.take(pa.array(may_be)).to_pylist()]
    no_letter = ~pc.match_substring_regex(texts, r"\pL").to_numpy(zero_copy_only=False)
    return np.stack([*found, mojibake, no_letter])


def count_words(texts: pa.Array) -> NDArray[np.int64]:
    """Return the number of words, runs without white space, of each text: int64 `(texts,)`."""
    return pc.count_substring_regex(texts, r"[^\s\pZ]+").to_numpy(zero_copy_only=False).astype(np.int64)
