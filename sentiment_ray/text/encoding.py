"""The one function from texts to token ids; knows NumPy and tokenizers, nothing of models, files of reviews or Ray.

A row is what passes through the model: a text is one row, or several with `truncation = "windows"`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_ray.errors import BundleError
from sentiment_ray.text.cleaning import clean
from sentiment_ray.text.truncation import HEAD, TokenWindows, Truncation, cut_characters, cut_tokens

MAX_CHARACTERS_PER_TOKEN = 64
"""Characters kept for each token that may be read. Without a limit an endless text would cost gigabytes."""

TRIAL_TEXT = "A trial \u2603 \U0010ffff."
"""Words, and characters that no vocabulary holds: some tokenizer files can be loaded and fail at the first text."""

MAX_TEXTS_PER_CALL, MAX_CHARACTERS_PER_CALL = 512, 1 << 22
"""What the tokenizer gets in one call. Its answer, some 220 bytes for each token, then stays near a gigabyte."""


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer, and what happens to a text before it (`cleaning_steps`) and after it (`truncation`).

    `max_tokens` is the largest number of tokens of a row, special tokens included. `unknown_id` is -1 where the
    tokenizer has no token for unknown words.
    """

    tokenizer: Tokenizer
    """Set neither to truncate nor to pad."""
    max_tokens: int
    truncation: Truncation
    cleaning_steps: tuple[str, ...]
    pad_id: int
    unknown_id: int


@dataclass(frozen=True)
class Encoded:
    """The rows of some texts, in the order of the texts.

    Of each row: `ids`, one int64 array `(length,)`; `lengths` int32 `(rows,)`, its tokens, special ones included; and
    `text_indices` intp `(rows,)`, the index of its text.
    Of each text, over all its rows: `num_tokens` int32 `(texts,)`; `num_unknown` int32 `(texts,)`, the tokens that
    stand for unknown words; and `truncated` bool `(texts,)`, whether a part of the text is in no row.
    """

    ids: list[NDArray[np.int64]]
    lengths: NDArray[np.int32]
    text_indices: NDArray[np.intp]
    num_tokens: NDArray[np.int32]
    num_unknown: NDArray[np.int32]
    truncated: NDArray[np.bool_]


def load_encoder(
    path: Path, *, max_tokens: int, truncation: Truncation = HEAD, cleaning_steps: Sequence[str] = ()
) -> TextEncoder:
    """Load `tokenizer.json`; BundleError when it is missing or unreadable, or leaves no room in `max_tokens`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: a fast tokenizer (tokenizer.json) is needed beside the model.") from None
    return parse_encoder(data, max_tokens=max_tokens, truncation=truncation, cleaning_steps=cleaning_steps, source=path)


def parse_encoder(
    data: bytes,
    *,
    max_tokens: int,
    truncation: Truncation = HEAD,
    cleaning_steps: Sequence[str] = (),
    source: str | Path,
) -> TextEncoder:
    """Make an encoder of the bytes of `tokenizer.json`; errors are those of `load_encoder` and name `source`.

    MissingExtraError when a cleaning step needs a library that is not installed.
    """
    clean(TRIAL_TEXT, cleaning_steps)
    with _tokenizer_errors(source):
        tokenizer = Tokenizer.from_buffer(data)
    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_tokens <= num_special:
        raise BundleError(f"max_tokens = {max_tokens} leaves no room beside {num_special} special tokens.")
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with _tokenizer_errors(source):
        tokenizer.encode(TRIAL_TEXT)
    pad_id = padding["pad_id"] if padding else max(_find_token_id(tokenizer, "[PAD]", "<pad>"), 0)
    unknown_token = getattr(tokenizer.model, "unk_token", None)
    unknown_id = _find_token_id(tokenizer, *([unknown_token] if unknown_token else []), "[UNK]", "<unk>")
    return TextEncoder(tokenizer, max_tokens, truncation, tuple(cleaning_steps), pad_id=pad_id, unknown_id=unknown_id)


def encode(encoder: TextEncoder, texts: Sequence[str]) -> Encoded:
    """Turn texts into rows of token ids, cleaned and truncated as the encoder says.

    Code points that UTF-8 cannot hold (lone surrogates) become question marks. A text that has no tokens becomes one
    unknown token.
    """
    max_tokens, truncation = encoder.max_tokens, encoder.truncation
    if encoder.cleaning_steps:
        texts = [clean(text, encoder.cleaning_steps) for text in texts]
    max_characters = truncation.max_windows * max_tokens * MAX_CHARACTERS_PER_TOKEN
    one_unknown_token = [max(encoder.unknown_id, 0)]
    ids: list[NDArray[np.int64]] = []
    text_indices: list[int] = []
    num_unknown_by_row: list[int] = []
    truncated = np.zeros(len(texts), dtype=np.bool_)
    kept = (_replace_surrogates(cut_characters(text, truncation, max_characters)) for text in texts)
    encodings = chain.from_iterable(encoder.tokenizer.encode_batch_fast(part) for part in _split_for_tokenizer(kept))
    for index, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
        tokens = encoding.ids or one_unknown_token
        rows, is_cut = [tokens], False
        if len(tokens) > max_tokens:
            rows, is_cut = cut_tokens(tokens, encoding.special_tokens_mask, truncation, max_tokens)
        for row in rows:
            ids.append(np.array(row, dtype=np.int64))
            text_indices.append(index)
            num_unknown_by_row.append(row.count(encoder.unknown_id))
        truncated[index] = is_cut or len(text) > max_characters
    lengths = np.array([len(row) for row in ids], dtype=np.int32)
    owners = np.array(text_indices, dtype=np.intp)
    num_tokens, num_unknown = (
        np.bincount(owners, weights=counts, minlength=len(texts)).astype(np.int32)
        for counts in (lengths, num_unknown_by_row)
    )
    return Encoded(ids, lengths, owners, num_tokens, num_unknown, truncated)


def join_encoded(parts: Sequence[Encoded]) -> Encoded:
    """Return the rows of one or more parts of some texts as if all texts had been encoded at once."""
    if len(parts) == 1:
        return parts[0]
    first_texts = np.cumsum([0] + [len(part.num_tokens) for part in parts])[:-1]
    return Encoded(
        ids=[row for part in parts for row in part.ids],
        lengths=np.concatenate([part.lengths for part in parts]),
        text_indices=np.concatenate(
            [part.text_indices + first for part, first in zip(parts, first_texts, strict=True)]
        ),
        num_tokens=np.concatenate([part.num_tokens for part in parts]),
        num_unknown=np.concatenate([part.num_unknown for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
    )


def select_rows(encoded: Encoded, text_indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the indices of the rows of some texts: all of the first text, then all of the next."""
    starts, ends = (np.searchsorted(encoded.text_indices, text_indices, side=side) for side in ("left", "right"))
    return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])


def pool_logits(
    logits: NDArray[np.float32], text_indices: NDArray[np.intp], truncation: Truncation
) -> NDArray[np.float32]:
    """Return float32 logits `(texts, labels)`: the mean or the maximum over the rows `(rows, labels)` of each text.

    `text_indices` `(rows,)` holds the index of each row's text; the rows of a text must be neighbours. The mean is
    computed in float64. A text's result depends on its own rows and on nothing else, bit for bit.
    """
    if not isinstance(truncation, TokenWindows):
        return logits
    starts = np.flatnonzero(np.diff(text_indices, prepend=-1))
    if truncation.pooling == "max":
        return np.maximum.reduceat(logits, starts, axis=0)
    sums = np.add.reduceat(logits.astype(np.float64), starts, axis=0)
    return (sums / np.diff(starts, append=len(text_indices))[:, None]).astype(np.float32)


def join_texts(parts: Sequence[str | None]) -> str | None:
    """Join the texts of several columns of a row, one a line, without empty ones; None when all are empty."""
    kept = [part for part in parts if part and not part.isspace()]
    return "\n".join(kept) if kept else None


@contextmanager
def _tokenizer_errors(source: str | Path) -> Iterator[None]:
    """Turn what the tokenizer's Rust code raises, an Exception or a PanicException, into a BundleError."""
    try:
        yield
    except BaseException as error:  # a PanicException is not an Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(f"{source} cannot be read as a tokenizer ({error}).") from None


def _split_for_tokenizer(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the texts in lists that are small enough for one call of the tokenizer."""
    part: list[str] = []
    num_characters = 0
    for text in texts:
        num_characters += len(text)
        if part and (len(part) == MAX_TEXTS_PER_CALL or num_characters > MAX_CHARACTERS_PER_CALL):
            yield part
            part, num_characters = [], len(text)
        part.append(text)
    if part:
        yield part


def _replace_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _find_token_id(tokenizer: Tokenizer, *names: str) -> int:
    """Return the id of the first of `names` that the vocabulary holds, or -1."""
    ids = (tokenizer.token_to_id(name) for name in names)
    return next((int(token_id) for token_id in ids if token_id is not None), -1)
