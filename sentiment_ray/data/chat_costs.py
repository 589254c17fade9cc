"""Estimates what a hosted fine-tuning API would make of a chat file: examples, tokens and cost; rejects nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_ray.data.config import Hosted, PrepareConfig
from sentiment_ray.data.readers.chat import read_examples
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.text.encoding import TextEncoder, load_encoder

MIN_EXAMPLES = 10
"""Hosted APIs accept no file with fewer examples."""
TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3
"""Tokens that a hosted API adds for markers, for the role and for the start of the answer
(https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken)."""
CHARACTERS_PER_TOKEN = 4
MAX_TOKENIZED_CHARACTERS = 1 << 20
"""The tokenizer counts this much of a content; the rest is estimated."""
BATCH_EXAMPLES = 1000
MAX_SYSTEM_MESSAGES = 10_000
"""Number of different system messages to count in a file. A wrong file has a new one on every line."""
QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass
class ChatCounts:
    """What chat files hold. The counts of several files can be added."""

    examples: int = 0
    well_formed: int = 0
    without_system: int = 0
    """Well-formed examples without a system message."""
    without_weight: int = 0
    """Well-formed examples whose answer has weight 0: no row is made of them."""
    systems: Counter[bytes] = field(default_factory=Counter)
    """Examples by the hash of their system message."""
    tokens: Counter[int] = field(default_factory=Counter)
    """Well-formed examples by their number of tokens."""

    def __iadd__(self, other: "ChatCounts") -> "ChatCounts":
        self.examples += other.examples
        self.well_formed += other.well_formed
        self.without_system += other.without_system
        self.without_weight += other.without_weight
        self.systems.update(other.systems)
        self.tokens.update(other.tokens)
        return self


def count_chats(task: ReadTask, hosted: Hosted, encoding: str | None = None) -> tuple[int, ChatCounts]:
    """Read a chat file and return its source's index and its counts."""
    counts = ChatCounts()
    encoder = load_tokenizer(hosted)
    examples = (example for _, _, example in read_examples(Path(task.path), encoding))
    while batch := list(islice(examples, BATCH_EXAMPLES)):
        well_formed = [example.contents for example in batch if example.contents]
        counts.examples += len(batch)
        counts.well_formed += len(well_formed)
        counts.without_weight += sum(bool(example.contents and example.reason) for example in batch)
        for contents in well_formed:
            _count_system_message(contents.get("system"), counts)
        texts = [[text for text in contents.values() if text] for contents in well_formed]
        counts.tokens.update(_count_tokens(texts, encoder))
    return task.source_index, counts


def load_tokenizer(hosted: Hosted) -> TextEncoder | None:
    """Return the tokenizer that counts, or None if tokens are estimated; BundleError if it cannot be read."""
    return load_encoder(Path(hosted.tokenizer), max_tokens=MAX_TOKENIZED_CHARACTERS) if hosted.tokenizer else None


def describe_chats(config: PrepareConfig, counts: Sequence[tuple[int, ChatCounts]]) -> dict[str, Any]:
    """Return what prepared.json says about each chat source, from pairs of a source's index and a file's counts."""
    by_source: dict[int, ChatCounts] = {}
    for source, file_counts in counts:
        by_source.setdefault(source, ChatCounts()).__iadd__(file_counts)
    return {config.sources[source].name: _describe(total, config.hosted) for source, total in sorted(by_source.items())}


def _describe(counts: ChatCounts, hosted: Hosted) -> dict[str, Any]:
    description: dict[str, Any] = {
        "examples": counts.examples,
        "well_formed": counts.well_formed,
        "system_messages": {
            "different": len(counts.systems),
            "most_frequent": max(counts.systems.values(), default=0),
            "without": counts.without_system,
        },
        "tokens": _describe_tokens(counts.tokens, hosted),
        "warnings": _list_warnings(counts),
    }
    if hosted.price_per_million_tokens is not None:
        billed_tokens = description["tokens"]["total"] * hosted.epochs
        description["hosted_fine_tune"] = {
            "epochs": hosted.epochs,
            "billed_tokens": billed_tokens,
            "price_per_million_tokens": hosted.price_per_million_tokens,
            "cost": round(billed_tokens / 1e6 * hosted.price_per_million_tokens, 4),
        }
    return description


def _count_system_message(text: str | None, counts: ChatCounts) -> None:
    if not text:
        counts.without_system += 1
        return
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    if digest in counts.systems or len(counts.systems) < MAX_SYSTEM_MESSAGES:
        counts.systems[digest] += 1


def _count_tokens(examples: list[list[str]], encoder: TextEncoder | None) -> list[int]:
    """Return the number of tokens of each example, given the contents of its messages."""
    texts = [text for contents in examples for text in contents]
    num_tokenized = MAX_TOKENIZED_CHARACTERS if encoder else 0
    text_tokens = [-(-max(0, len(text) - num_tokenized) // CHARACTERS_PER_TOKEN) for text in texts]
    if encoder:
        heads = [text[:num_tokenized].encode(errors="replace").decode() for text in texts]
        encodings = encoder.tokenizer.encode_batch_fast(heads, add_special_tokens=False)
        text_tokens = [rest + len(encoding.ids) for rest, encoding in zip(text_tokens, encodings, strict=True)]
    ends = np.cumsum([len(contents) for contents in examples], dtype=np.intp)
    sums = np.concatenate([[0], np.cumsum(text_tokens)])
    example_tokens = np.diff(sums[np.concatenate([[0], ends])])
    return [
        int(tokens) + TOKENS_PER_EXAMPLE + TOKENS_PER_MESSAGE * len(contents)
        for tokens, contents in zip(example_tokens, examples, strict=True)
    ]


def _describe_tokens(tokens: Counter[int], hosted: Hosted) -> dict[str, Any]:
    """Return the sum, the mean and the quantiles of the examples' tokens, and how they were counted."""
    counted_by = hosted.tokenizer or f"estimate: characters / {CHARACTERS_PER_TOKEN}"
    if not tokens:
        return {"counted_by": counted_by, "total": 0}
    values = np.array(sorted(tokens), dtype=np.int64)
    cumulative = np.cumsum([tokens[value] for value in values.tolist()], dtype=np.int64)
    total = sum(value * count for value, count in tokens.items())
    quantiles = {
        name: int(values[np.searchsorted(cumulative, max(1, np.ceil(share * cumulative[-1])))])
        for name, share in QUANTILES.items()
    }
    return {"counted_by": counted_by, "total": total, "mean": round(total / int(cumulative[-1]), 1)} | quantiles


def _list_warnings(counts: ChatCounts) -> list[str]:
    warnings = []
    if counts.examples < MIN_EXAMPLES:
        warnings.append(f"{counts.examples} examples: hosted APIs want {MIN_EXAMPLES} or more")
    if counts.well_formed < counts.examples:
        malformed = counts.examples - counts.well_formed
        warnings.append(f"{malformed} of {counts.examples} lines are not well-formed examples")
    if counts.without_weight:
        warnings.append(
            f"{counts.without_weight} of {counts.well_formed} answers have weight 0, so they are not learned from"
        )
    if len(counts.systems) > 1:
        most = max(counts.systems.values())
        warnings.append(
            f"{len(counts.systems)} different system messages, the most frequent one in {most} of {counts.well_formed} "
            "examples"
        )
    if counts.systems and counts.without_system:
        warnings.append(f"{counts.without_system} of {counts.well_formed} examples have no system message")
    return warnings
