"""The one path from texts to token ids; knows NumPy and tokenizers, nothing of models, files of reviews or Ray.

A row is what passes through the model: a text is one row, or several with `truncation = "windows"`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_ray.errors import BundleError
from sentiment_ray.text.cleaning import clean
from sentiment_ray.text.truncation import HEAD, Truncation, Windows, cut_characters, cut_tokens

MAX_CHARACTERS_PER_TOKEN = 64
"""Characters kept for each token that may be read: an endless text is cut before it can cost gigabytes."""

TRIAL = "A trial \u2603 \U0010ffff."
"""Words and what no vocabulary holds: some files can be read and fail at the first text."""

TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 512, 1 << 22
"""What the tokenizer is given together: what it returns, some 220 bytes for each token, stays near a gigabyte."""
ROUNDING_LIMITS = (48, 96, 192)
"""Tokens below which lengths are rounded up to multiples of 1, 2 and 4; above the last, of 8."""


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer that neither cuts nor pads, and what is read of a text that has more than `max_tokens` tokens.

    `steps` are done to every text before (cleaning.py). Special tokens count among the tokens. `unknown_id` is -1 where
    the tokenizer has no token for what it does not know.
    """

    tokenizer: Tokenizer
    max_tokens: int
    truncation: Truncation
    steps: tuple[str, ...]
    pad_id: int
    unknown_id: int


@dataclass(frozen=True)
class Encoded:
    """The rows of some texts, in the order of the texts: `ids` holds one int64 array `(length,)` a row.

    `lengths` int32 `(rows,)` counts a row's tokens, special ones included; `texts` intp `(rows,)` is the text of each.
    Of each text, with all its rows: `tokens` int32 `(texts,)`, `unknown` int32 `(texts,)`, the tokens that stand for
    what the tokenizer does not know, and `truncated` bool `(texts,)`, whether a part of it is in no row.
    """

    ids: list[NDArray[np.int64]]
    lengths: NDArray[np.int32]
    texts: NDArray[np.intp]
    tokens: NDArray[np.int32]
    unknown: NDArray[np.int32]
    truncated: NDArray[np.bool_]


def load_encoder(
    path: Path, *, max_tokens: int, truncation: Truncation = HEAD, steps: Sequence[str] = ()
) -> TextEncoder:
    """Load `tokenizer.json`; BundleError when it is missing, unreadable, or cannot hold `max_tokens`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: a fast tokenizer (tokenizer.json) is needed beside the model.") from None
    return parse_encoder(data, max_tokens=max_tokens, truncation=truncation, steps=steps, source=path)


def parse_encoder(
    data: bytes, *, max_tokens: int, truncation: Truncation = HEAD, steps: Sequence[str] = (), source: str | Path
) -> TextEncoder:
    """Make an encoder of the bytes of `tokenizer.json`; errors, as those of `load_encoder`, name `source`.

    MissingExtraError when a step needs a library that is not there: now, not at the first text.
    """
    clean(TRIAL, steps)
    with _refusing(source):
        tokenizer = Tokenizer.from_buffer(data)
    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_tokens <= num_special:
        raise BundleError(f"max_tokens = {max_tokens} leaves no room beside {num_special} special tokens.")
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with _refusing(source):
        tokenizer.encode(TRIAL)
    pad_id = padding["pad_id"] if padding else max(_token_id(tokenizer, "[PAD]", "<pad>"), 0)
    unknown = getattr(tokenizer.model, "unk_token", None)
    unknown_id = _token_id(tokenizer, *([unknown] if unknown else []), "[UNK]", "<unk>")
    return TextEncoder(tokenizer, max_tokens, truncation, tuple(steps), pad_id=pad_id, unknown_id=unknown_id)


def encode(encoder: TextEncoder, texts: Sequence[str]) -> Encoded:
    """Turn texts into rows of token ids, cleaned and cut as the encoder says; without steps they are taken as they are.

    Code points that UTF-8 cannot hold (lone surrogates) become question marks, and a text that the tokenizer leaves
    nothing of becomes one unknown token.
    """
    max_tokens, truncation = encoder.max_tokens, encoder.truncation
    if encoder.steps:
        texts = [clean(text, encoder.steps) for text in texts]
    limit = truncation.max_windows * max_tokens * MAX_CHARACTERS_PER_TOKEN
    nothing = [max(encoder.unknown_id, 0)]
    ids: list[NDArray[np.int64]] = []
    owners: list[int] = []
    unknown: list[int] = []
    truncated = np.zeros(len(texts), dtype=np.bool_)
    kept = (_valid_text(cut_characters(text, truncation, limit)) for text in texts)
    encodings = chain.from_iterable(encoder.tokenizer.encode_batch_fast(some) for some in _portions(kept))
    for place, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
        tokens = encoding.ids or nothing
        rows, is_cut = [tokens], False
        if len(tokens) > max_tokens:
            rows, is_cut = cut_tokens(tokens, encoding.special_tokens_mask, truncation, max_tokens)
        for row in rows:
            ids.append(np.array(row, dtype=np.int64))
            owners.append(place)
            unknown.append(row.count(encoder.unknown_id))
        truncated[place] = is_cut or len(text) > limit
    lengths = np.array([len(row) for row in ids], dtype=np.int32)
    of_rows = np.array(owners, dtype=np.intp)
    tokens_of_texts, unknown_of_texts = (
        np.bincount(of_rows, weights=counts, minlength=len(texts)).astype(np.int32) for counts in (lengths, unknown)
    )
    return Encoded(ids, lengths, of_rows, tokens_of_texts, unknown_of_texts, truncated)


def rows_of(encoded: Encoded, texts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows of some texts: all of the first one's, then all of the next one's."""
    starts, ends = (np.searchsorted(encoded.texts, texts, side=side) for side in ("left", "right"))
    return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])


def pool_logits(logits: NDArray[np.float32], texts: NDArray[np.intp], truncation: Truncation) -> NDArray[np.float32]:
    """Return float32 logits `(texts, labels)`, the mean or the largest of those of each text's rows `(rows, labels)`.

    `texts` `(rows,)` is the text of each row; a text's rows stand side by side, in their order. The mean is taken in
    float64. A text's result depends on its own rows alone, to the bit.
    """
    if not isinstance(truncation, Windows):
        return logits
    starts = np.flatnonzero(np.diff(texts, prepend=-1))
    if truncation.pooling == "max":
        return np.maximum.reduceat(logits, starts, axis=0)
    sums = np.add.reduceat(logits.astype(np.float64), starts, axis=0)
    return (sums / np.diff(starts, append=len(texts))[:, None]).astype(np.float32)


def join_texts(parts: Sequence[str | None]) -> str | None:
    """Return the text that several columns of a row make: those that are not empty, a line each; None for none."""
    kept = [part for part in parts if part and not part.isspace()]
    return "\n".join(kept) if kept else None


def pad(
    ids: Sequence[NDArray[np.int64]], *, pad_id: int, length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both int64 `(batch, length)`, by default as long as the longest row."""
    length = length or max(len(row) for row in ids)
    input_ids = np.full((len(ids), length), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(ids), length), dtype=np.int64)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask


def length_sorted_batches(
    lengths: NDArray[np.int32], *, tokens_per_batch: int, num_rows: NDArray[np.intp] | None = None
) -> Iterator[NDArray[np.intp]]:
    """Yield indices of texts, shortest first, in batches of at most `tokens_per_batch` tokens with padding.

    `num_rows` `(texts,)` says how many rows of its length each text has, one when it is None. A text longer than the
    budget makes a batch of its own. Every index comes exactly once.
    """
    order = np.argsort(lengths, kind="stable")
    rows_until = [0, *accumulate([1] * len(order) if num_rows is None else num_rows[order].tolist())]
    start = 0
    while start < len(order):
        end = start + 1
        while (
            end < len(order)
            and (rows_until[end + 1] - rows_until[start]) * int(lengths[order[end]]) <= tokens_per_batch
        ):
            end += 1
        yield order[start:end]
        start = end


def rounded_lengths(lengths: NDArray[np.int32], *, max_tokens: int) -> NDArray[np.int32]:
    """Return the lengths to which texts are padded: the next multiple of 1, 2, 4 or 8, int32 `(texts,)`.

    It follows from a text's own length alone, so its logits do not depend on the texts beside it. An engine prepares
    itself for every length that it meets and multiplies few rows slowly: fewer lengths are up to 1.2 times faster and
    cost 1 to 2 % of padding (docs/benchmarks.md).
    """
    steps = np.select([lengths < limit for limit in ROUNDING_LIMITS], [1, 2, 4], default=8)
    rounded: NDArray[np.int32] = np.minimum(-(-lengths // steps) * steps, np.maximum(lengths, max_tokens))
    return rounded.astype(np.int32)


def equal_length_batches(lengths: NDArray[np.int32], *, tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Yield row indices, longest texts first, in batches of texts of one length and at most `tokens_per_batch` tokens.

    A text longer than the budget makes a batch of its own. Every index comes exactly once.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.flatnonzero(np.diff(lengths[order])) + 1
    for same in np.split(order, ends):
        if len(same):
            size = max(1, tokens_per_batch // max(1, int(lengths[same[0]])))
            yield from (same[start : start + size] for start in range(0, len(same), size))


@contextmanager
def _refusing(source: str | Path) -> Iterator[None]:
    """Turn what the tokenizer's Rust code raises, plain Exception or a panic, which is none, into a BundleError."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(f"{source} is no tokenizer that can be read ({error}).") from None


def _portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the texts in lists, as many in each as the tokenizer may be given together."""
    portion: list[str] = []
    num_characters = 0
    for text in texts:
        num_characters += len(text)
        if portion and (len(portion) == TEXTS_AT_ONCE or num_characters > CHARACTERS_AT_ONCE):
            yield portion
            portion, num_characters = [], len(text)
        portion.append(text)
    if portion:
        yield portion


def _valid_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _token_id(tokenizer: Tokenizer, *names: str) -> int:
    """Return the id of the first of `names` that the vocabulary holds, or -1."""
    ids = (tokenizer.token_to_id(name) for name in names)
    return next((int(token_id) for token_id in ids if token_id is not None), -1)
