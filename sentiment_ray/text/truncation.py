"""Which part is read of a text that has more tokens than the model takes; knows lists of tokens, no tokenizer."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

HEAD_SHARE = 128 / 510
"""Share of the tokens that `head_tail` takes from the start of a text. 128 of 510 did best on IMDb and Sogou News: Sun
et al., "How to Fine-Tune BERT for Text Classification?", 2019, https://arxiv.org/abs/1905.05583."""

Mode = Literal["head", "tail", "head_tail", "windows"]
Pooling = Literal["mean", "max"]
Overlap = Annotated[float, Field(ge=0, le=0.9)]
NumWindows = Annotated[int, Field(ge=1, le=64)]


class Cut(BaseModel):
    """Each text is one row: its first tokens, its last tokens, or some of both."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_windows: ClassVar[int] = 1
    mode: Literal["head", "tail", "head_tail"]


class TokenWindows(BaseModel):
    """Each text is read in windows of `max_tokens` tokens, one row a window; the logits of its windows are pooled.

    `overlap` is the share of a window, without special tokens, that repeats the end of the window before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["windows"] = "windows"
    pooling: Pooling
    overlap: Overlap
    max_windows: NumWindows


Truncation = Cut | TokenWindows
HEAD = Cut(mode="head")

PARTS_READ = {
    "head": "the first {limit} of a text",
    "tail": "the last {limit} of a text",
    "head_tail": "{limit} of a text, about a quarter from its start and the rest from its end",
    "windows": "a text in up to {limit} and pools their logits",
}
"""The part of a long text that is read, by truncation mode."""


def read_truncation(settings: Mapping[str, Any]) -> Truncation:
    """Return the truncation that the keys of [train] name; older runs have no such keys and read the first tokens."""
    mode = settings.get("truncation", "head")
    if mode != "windows":
        return Cut(mode=mode)
    return TokenWindows(
        pooling=settings["pooling"], overlap=settings["window_overlap"], max_windows=settings["max_windows"]
    )


def describe_limit(truncation: Truncation, max_tokens: int) -> str:
    """Return in words how long a text may be without being truncated."""
    if isinstance(truncation, TokenWindows):
        return f"{truncation.max_windows} windows of {max_tokens} tokens"
    return f"{max_tokens} tokens"


def describe_part_read(truncation: Truncation, max_tokens: int) -> str:
    """Return in words what is read of a text, as the object of a sentence about the model."""
    return PARTS_READ[truncation.mode].format(limit=describe_limit(truncation, max_tokens))


def cut_characters(text: str, truncation: Truncation, limit: int) -> str:
    """Return at most `limit` characters of a text: its start, its end, or both with a space between them."""
    if len(text) <= limit:
        return text
    num_first = _count_first(truncation, limit)
    return " ".join(part for part in (text[:num_first], text[len(text) - limit + num_first :]) if part)


def cut_tokens(
    tokens: Sequence[int], special: Sequence[int], truncation: Truncation, max_tokens: int
) -> tuple[list[list[int]], bool]:
    """Cut a text of more than `max_tokens` tokens into rows of `max_tokens`; return also whether a token is in no row.

    `special` has a 1 for each special token. The special tokens at both ends of the text come at both ends of every
    row. Windows start at equal distances, but the last one starts earlier and is full too: all windows have the same
    length and the same weight.
    """
    num_before, num_after = (sum(takewhile(bool, mask)) for mask in (special, reversed(special)))
    end = len(tokens) - num_after
    before, inner, after = tokens[:num_before], tokens[num_before:end], tokens[end:]
    room = max_tokens - num_before - num_after
    last = len(inner) - room
    if isinstance(truncation, Cut):
        num_first = _count_first(truncation, room)
        return [[*before, *inner[:num_first], *inner[last + num_first :], *after]], True
    step = max(1, room - int(room * truncation.overlap))
    starts = [*range(0, last, step), last]
    kept = starts[: truncation.max_windows]
    return [[*before, *inner[start : start + room], *after] for start in kept], len(kept) < len(starts)


def _count_first(truncation: Truncation, room: int) -> int:
    """Return how many of `room` tokens or characters come from the start of a text; the others come from its end."""
    if truncation.mode == "tail":
        return 0
    return max(1, round(room * HEAD_SHARE)) if truncation.mode == "head_tail" else room
