"""Counts what a hosted fine-tuning API would make of a chat file: examples, tokens, cost; rejects nothing."""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_ray.data.config import Hosted
from sentiment_ray.data.readers.chat import read_examples
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.text.encoding import TextEncoder, load_encoder

FEWEST_EXAMPLES = 10
"""Hosted APIs take no file with fewer."""
TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3
"""What markers, the role's name and the beginning of the answer add, as hosted APIs count
(https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken)."""
CHARACTERS_PER_TOKEN = 4
LONGEST_COUNTED = 1 << 20
"""Characters of a content that the tokenizer counts; the rest of an endless one is estimated."""
EXAMPLES_AT_ONCE = 1000
MOST_SYSTEM_MESSAGES = 10_000
"""Different system messages that a file's counts tell apart: a wrong file has another one in every line."""

Contents = list[str]
"""The contents of an example's messages."""


@dataclass
class ChatCounts:
    """What a chat file holds; the counts of several files add up."""

    examples: int = 0
    well_formed: int = 0
    without_system: int = 0
    """Well-formed examples without a system message."""
    systems: Counter[bytes] = field(default_factory=Counter)
    """How often each system message comes, by its hash."""
    tokens: Counter[int] = field(default_factory=Counter)
    """Well-formed examples by their number of tokens."""

    def __iadd__(self, other: "ChatCounts") -> "ChatCounts":
        self.examples += other.examples
        self.well_formed += other.well_formed
        self.without_system += other.without_system
        self.systems.update(other.systems)
        self.tokens.update(other.tokens)
        return self


def count_chats(unit: Unit, hosted: Hosted) -> tuple[int, ChatCounts]:
    """Read a chat file once and return its source's place and its counts."""
    counts = ChatCounts()
    encoder = load_tokenizer(hosted)
    examples = (said for _, _, said in read_examples(Path(unit.path)))
    while portion := list(islice(examples, EXAMPLES_AT_ONCE)):
        well_formed = [said for said in portion if not isinstance(said, str)]
        counts.examples += len(portion)
        counts.well_formed += len(well_formed)
        for said in well_formed:
            _count_system(said.get("system"), counts)
        counts.tokens.update(_tokens([[text for text in said.values() if text] for said in well_formed], encoder))
    return unit.source, counts


def load_tokenizer(hosted: Hosted) -> TextEncoder | None:
    """Return the tokenizer that counts, None where characters are to tell; BundleError when it cannot be read."""
    return load_encoder(Path(hosted.tokenizer), max_tokens=LONGEST_COUNTED) if hosted.tokenizer else None


def describe(counts: ChatCounts, hosted: Hosted) -> dict[str, Any]:
    """Return what prepared.json says of a chat source; `warnings` are what a hosted API or a reader would mind."""
    described: dict[str, Any] = {
        "examples": counts.examples,
        "well_formed": counts.well_formed,
        "system_messages": {
            "different": len(counts.systems),
            "most_frequent": max(counts.systems.values(), default=0),
            "without": counts.without_system,
        },
        "tokens": _distribution(counts.tokens, hosted),
        "warnings": _warnings(counts),
    }
    if hosted.price_per_million_tokens is not None:
        billed = described["tokens"]["total"] * hosted.epochs
        described["hosted_fine_tune"] = {
            "epochs": hosted.epochs,
            "billed_tokens": billed,
            "price_per_million_tokens": hosted.price_per_million_tokens,
            "cost": round(billed / 1e6 * hosted.price_per_million_tokens, 4),
        }
    return described


def _count_system(text: str | None, counts: ChatCounts) -> None:
    if not text:
        counts.without_system += 1
        return
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    if digest in counts.systems or len(counts.systems) < MOST_SYSTEM_MESSAGES:
        counts.systems[digest] += 1


def _tokens(examples: list[Contents], encoder: TextEncoder | None) -> list[int]:
    """Return the number of tokens of each example."""
    texts = [text for contents in examples for text in contents]
    of_texts = [-(-max(0, len(text) - (LONGEST_COUNTED if encoder else 0)) // CHARACTERS_PER_TOKEN) for text in texts]
    if encoder:
        heads = [text[:LONGEST_COUNTED].encode(errors="replace").decode() for text in texts]
        found = encoder.tokenizer.encode_batch_fast(heads, add_special_tokens=False)
        of_texts = [beyond + len(encoding.ids) for beyond, encoding in zip(of_texts, found, strict=True)]
    ends = np.cumsum([len(contents) for contents in examples], dtype=np.intp)
    sums = np.concatenate([[0], np.cumsum(of_texts)])
    each = np.diff(sums[np.concatenate([[0], ends])])
    return [
        int(tokens) + TOKENS_PER_EXAMPLE + TOKENS_PER_MESSAGE * len(contents)
        for tokens, contents in zip(each, examples, strict=True)
    ]


def _distribution(tokens: Counter[int], hosted: Hosted) -> dict[str, Any]:
    """Return the sum and the quantiles of the tokens of all examples, and how they were counted."""
    counted_by = hosted.tokenizer or f"estimate: characters / {CHARACTERS_PER_TOKEN}"
    values = np.array(sorted(tokens), dtype=np.int64)
    until = np.cumsum([tokens[value] for value in values.tolist()], dtype=np.int64)
    if not len(values):
        return {"counted_by": counted_by, "total": 0}
    total = sum(value * count for value, count in tokens.items())
    places = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
    of_places = {
        name: int(values[np.searchsorted(until, max(1, np.ceil(place * until[-1])))]) for name, place in places.items()
    }
    return {"counted_by": counted_by, "total": total, "mean": round(total / int(until[-1]), 1)} | of_places


def _warnings(counts: ChatCounts) -> list[str]:
    warnings = []
    if counts.examples < FEWEST_EXAMPLES:
        warnings.append(f"{counts.examples} examples: hosted APIs want {FEWEST_EXAMPLES} or more")
    if counts.well_formed < counts.examples:
        malformed = counts.examples - counts.well_formed
        warnings.append(f"{malformed} of {counts.examples} lines are no well-formed examples")
    if len(counts.systems) > 1:
        most = max(counts.systems.values())
        warnings.append(
            f"{len(counts.systems)} different system messages, the most frequent in {most} of {counts.well_formed} "
            "examples"
        )
    if counts.systems and counts.without_system:
        warnings.append(f"{counts.without_system} of {counts.well_formed} examples without a system message")
    return warnings
