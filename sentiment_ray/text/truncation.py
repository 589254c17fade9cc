"""What is read of a text that has more tokens than the model takes; knows lists of tokens, no tokenizer, no arrays."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

HEAD_SHARE = 128 / 510
"""Share of what head_tail reads that comes from a text's start: 128 of 510 tokens did best on IMDb and Sogou News in
Sun et al., "How to Fine-Tune BERT for Text Classification?", 2019, https://arxiv.org/abs/1905.05583."""

Mode = Literal["head", "tail", "head_tail", "windows"]
Pooling = Literal["mean", "max"]
Overlap = Annotated[float, Field(ge=0, le=0.9)]
NumWindows = Annotated[int, Field(ge=1, le=64)]


class Cut(BaseModel):
    """One row a text: its first tokens, its last, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_windows: ClassVar[int] = 1
    mode: Literal["head", "tail", "head_tail"]


class Windows(BaseModel):
    """A row for each window on a text, the logits of a text's windows pooled.

    `overlap` is the share of a window, special tokens apart, that repeats the end of the one before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["windows"] = "windows"
    pooling: Pooling
    overlap: Overlap
    max_windows: NumWindows


Truncation = Cut | Windows
HEAD = Cut(mode="head")


def truncation_of(settings: Mapping[str, Any]) -> Truncation:
    """Return what the keys of [train] say; runs from before there were such keys read the first tokens."""
    mode = settings.get("truncation", "head")
    if mode != "windows":
        return Cut(mode=mode)
    return Windows(pooling=settings["pooling"], overlap=settings["window_overlap"], max_windows=settings["max_windows"])


def limit_in_words(truncation: Truncation, max_tokens: int) -> str:
    """Return how long a text may be and still be read whole."""
    if isinstance(truncation, Windows):
        return f"{truncation.max_windows} windows of {max_tokens} tokens"
    return f"{max_tokens} tokens"


def cut_characters(text: str, truncation: Truncation, limit: int) -> str:
    """Return the part of a text of more than `limit` characters that is read: its ends, with a space between them."""
    if len(text) <= limit:
        return text
    num_first = _num_first(truncation, limit)
    return " ".join(part for part in (text[:num_first], text[len(text) - limit + num_first :]) if part)


def cut_tokens(
    tokens: Sequence[int], special: Sequence[int], truncation: Truncation, max_tokens: int
) -> tuple[list[list[int]], bool]:
    """Return the rows of `max_tokens` that are read of a text with more tokens, and whether any token is in none.

    `special` has a 1 for each token that is not the text's own; those at its ends are at the ends of every row. Windows
    begin in equal steps, the last one earlier, so that it is full: all windows are of one length and weigh the same.
    """
    num_before, num_after = (sum(takewhile(bool, mask)) for mask in (special, reversed(special)))
    end = len(tokens) - num_after
    before, inner, after = tokens[:num_before], tokens[num_before:end], tokens[end:]
    room = max_tokens - num_before - num_after
    last = len(inner) - room
    if isinstance(truncation, Cut):
        num_first = _num_first(truncation, room)
        return [[*before, *inner[:num_first], *inner[last + num_first :], *after]], True
    step = max(1, room - int(room * truncation.overlap))
    starts = [*range(0, last, step), last]
    read = starts[: truncation.max_windows]
    return [[*before, *inner[start : start + room], *after] for start in read], len(read) < len(starts)


def _num_first(truncation: Truncation, room: int) -> int:
    """Return how many of `room` tokens or characters are the first of a text; the others are its last."""
    if truncation.mode == "tail":
        return 0
    return max(1, round(room * HEAD_SHARE)) if truncation.mode == "head_tail" else room
