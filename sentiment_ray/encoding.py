"""The one path from texts to token ids; knows NumPy and tokenizers, nothing of models, files of reviews or Ray."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_ray.errors import BundleError

MAX_CHARACTERS_PER_TOKEN = 64
"""Characters kept for each token of `max_tokens`: an endless text is cut before it can cost gigabytes."""

TRIAL = "A trial \u2603 \U0010ffff."
"""Words and what no vocabulary holds: some files can be read and fail at the first text."""

TEXTS_AT_ONCE = 512
"""Texts given to the tokenizer together: what it returns, with all that was cut off, is many times their size."""
ROUNDING_LIMITS = (48, 96, 192)
"""Tokens below which lengths are rounded up to multiples of 1, 2 and 4; above the last, of 8."""


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer set to cut at `max_tokens`, special tokens included, and never to pad.

    `unknown_id` is -1 where the tokenizer has no token for what it does not know.
    """

    tokenizer: Tokenizer
    max_tokens: int
    pad_id: int
    unknown_id: int


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts: `ids` holds one int64 array `(length,)` a text, special tokens included.

    `lengths` int32 `(texts,)` counts them and `unknown` int32 `(texts,)` those that stand for what the tokenizer does
    not know; `truncated` bool `(texts,)` says which texts were cut.
    """

    ids: list[NDArray[np.int64]]
    lengths: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.int32]


def load_encoder(path: Path, *, max_tokens: int) -> TextEncoder:
    """Load `tokenizer.json`; BundleError when it is missing, unreadable, or cannot hold `max_tokens`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: a fast tokenizer (tokenizer.json) is needed beside the model.") from None
    return parse_encoder(data, max_tokens=max_tokens, source=path)


def parse_encoder(data: bytes, *, max_tokens: int, source: str | Path) -> TextEncoder:
    """Make an encoder of the bytes of `tokenizer.json`; errors, as those of `load_encoder`, name `source`."""
    with _refusing(source):
        tokenizer = Tokenizer.from_buffer(data)
    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_tokens <= num_special:
        raise BundleError(f"max_tokens = {max_tokens} leaves no room beside {num_special} special tokens.")
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    with _refusing(source):
        tokenizer.encode(TRIAL)
    pad_id = padding["pad_id"] if padding else max(_token_id(tokenizer, "[PAD]", "<pad>"), 0)
    unknown = getattr(tokenizer.model, "unk_token", None)
    unknown_id = _token_id(tokenizer, *([unknown] if unknown else []), "[UNK]", "<unk>")
    return TextEncoder(tokenizer, max_tokens, pad_id=pad_id, unknown_id=unknown_id)


def encode(encoder: TextEncoder, texts: Sequence[str]) -> Encoded:
    """Turn texts into token ids, cut at the encoder's `max_tokens`; the texts are taken as they are.

    Code points that UTF-8 cannot hold (lone surrogates) become question marks, and a text that the tokenizer leaves
    nothing of becomes one unknown token.
    """
    limit = encoder.max_tokens * MAX_CHARACTERS_PER_TOKEN
    nothing = [max(encoder.unknown_id, 0)]
    ids: list[NDArray[np.int64]] = []
    truncated, unknown = np.zeros(len(texts), dtype=np.bool_), np.zeros(len(texts), dtype=np.int32)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[start : start + TEXTS_AT_ONCE]
        encodings = encoder.tokenizer.encode_batch_fast([_valid_text(text[:limit]) for text in some])
        for row, (text, encoding) in enumerate(zip(some, encodings, strict=True), start):
            tokens = encoding.ids or nothing
            ids.append(np.array(tokens, dtype=np.int64))
            truncated[row] = len(text) > limit or bool(encoding.overflowing)
            unknown[row] = tokens.count(encoder.unknown_id)
    return Encoded(ids, np.array([len(row) for row in ids], dtype=np.int32), truncated, unknown)


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


def length_sorted_batches(lengths: NDArray[np.int32], *, tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Yield row indices, shortest texts first, in batches of at most `tokens_per_batch` tokens with padding.

    A text longer than the budget makes a batch of its own. Every index comes exactly once.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * int(lengths[order[end]]) <= tokens_per_batch:
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


def _valid_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _token_id(tokenizer: Tokenizer, *names: str) -> int:
    """Return the id of the first of `names` that the vocabulary holds, or -1."""
    ids = (tokenizer.token_to_id(name) for name in names)
    return next((int(token_id) for token_id in ids if token_id is not None), -1)
