"""Collects what the checks see in the rows of one bucket, and adds up the buckets. Knows no files and no Ray.

The report's examples are the first rows by hash, so they do not depend on the machine or on how the work was divided.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.data.check_config import SampledShares
from sentiment_ray.data.check_table import TEXT_CHECKS
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.hashing import DRAW_COLUMN, read_hashes, to_fractions
from sentiment_ray.data.leakage_files import BucketMatches, find_rows
from sentiment_ray.data.report.duplicates import Duplicates, count_duplicates
from sentiment_ray.data.report.language import UNCLEAR, detect_languages
from sentiment_ray.data.report.text_flags import count_words, flag_texts
from sentiment_ray.text.encoding import MAX_CHARACTERS_PER_TOKEN, TextEncoder, load_encoder

MAX_LENGTH = 8192
"""Longest length, in words or tokens, with a count of its own. Longer texts are counted as this long."""
MAX_EXAMPLES = 5
EXAMPLE_CHARACTERS = 300
MAX_LABEL_ISSUE_CHARACTERS = 8192
TEXTS_AT_ONCE = 512
ExampleRow = dict[str, Any]
"""A row with its text, for the page. `file_key` is the index of its source and that of its file in the source."""


@dataclass
class BucketStats:
    """Counts of one bucket, or of all. Lengths are histograms: counts by length, `(MAX_LENGTH + 1,)`."""

    kept_rows: NDArray[np.int64]
    """`(sources, splits, labels)`."""
    flagged_rows: NDArray[np.int64]
    """`(sources, TEXT_CHECKS)`, of the kept rows."""
    source_pairs: NDArray[np.int64]
    """`(sources, sources)`, see Duplicates."""
    leaked_rows: NDArray[np.int64]
    """`(splits, 2)`: kept rows that equal one of the test set, and those that resemble one."""
    num_words: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    cut_rows: NDArray[np.int64]
    """`()`: kept rows with more than `max_tokens` tokens."""
    counts: Counter[str] = field(default_factory=Counter)
    """valid, repeated, identical, conflicting, conflicting_texts."""
    languages: Counter[str] = field(default_factory=Counter)
    clusters: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Kept rows by cluster of near duplicates and split."""
    examples: dict[str, list[ExampleRow]] = field(default_factory=dict)
    """Example rows by check."""
    label_issue_rows: list[ExampleRow] = field(default_factory=list)
    """The rows that are examined for wrong labels."""


def create_empty_stats(config: PrepareConfig) -> BucketStats:
    """Return the stats of no rows."""
    num_sources = len(config.sources)
    return BucketStats(
        kept_rows=np.zeros((num_sources, len(SPLITS), len(config.labels)), dtype=np.int64),
        flagged_rows=np.zeros((num_sources, len(TEXT_CHECKS)), dtype=np.int64),
        source_pairs=np.zeros((num_sources, num_sources), dtype=np.int64),
        leaked_rows=np.zeros((len(SPLITS), 2), dtype=np.int64),
        num_words=np.zeros(MAX_LENGTH + 1, dtype=np.int64),
        num_tokens=np.zeros(MAX_LENGTH + 1, dtype=np.int64),
        cut_rows=np.zeros((), dtype=np.int64),
    )


def collect_stats(
    table: pa.Table,
    outcome: NDArray[np.intp],
    *,
    config: PrepareConfig,
    matches: BucketMatches,
    sampled_shares: SampledShares,
) -> BucketStats:
    """Return the stats of a bucket's rows, `table` with the columns hash, source, id, text, label, rating.

    Rows with equal hashes are adjacent. `outcome` `(rows,)` is the split of a kept row, and above all splits otherwise.
    """
    stats = create_empty_stats(config)
    words = read_hashes(table["hash"])
    source, label = (table[name].to_numpy().astype(np.intp) for name in ("source", "label"))
    _count_all_rows(stats, table, words, source, label, config)
    is_kept = outcome < len(SPLITS)
    kept, split = table.filter(pa.array(is_kept)).combine_chunks(), outcome[is_kept]
    np.add.at(stats.kept_rows, (source[is_kept], split, label[is_kept]), 1)
    if len(kept):
        _check_texts(stats, kept, source[is_kept], config)
        _count_clusters(stats, kept, split, matches, config)
        _count_leaked(stats, kept, split, matches, config)
        # This column of the hash decides neither the split nor the share of a source, so the sample is independent.
        position = to_fractions(words[is_kept], DRAW_COLUMN)
        _sample_languages(stats, kept, np.flatnonzero(position < sampled_shares.language), config)
        rows = np.flatnonzero(position < sampled_shares.label_issues)
        stats.label_issue_rows = _read_rows(kept, rows, config, max_characters=MAX_LABEL_ISSUE_CHARACTERS)
    return stats


def add_stats(config: PrepareConfig, parts: Sequence[BucketStats]) -> BucketStats:
    """Return the sum of the stats; their order makes no difference."""
    total = create_empty_stats(config)
    for part in parts:
        for name, value in vars(total).items():
            if isinstance(value, np.ndarray):
                value += getattr(part, name)
            elif isinstance(value, Counter):
                value.update(getattr(part, name))
        for check, rows in part.examples.items():
            total.examples.setdefault(check, []).extend(rows)
        total.label_issue_rows.extend(part.label_issue_rows)
    for rows in (*total.examples.values(), total.label_issue_rows):
        rows.sort(key=lambda row: (row["hash"], row["id"]))
    return total


def count_tokens(encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of tokens of each text, special ones included: `(texts,)`.

    Of a text with more than MAX_LENGTH tokens, at least that many are counted.
    """
    max_characters = MAX_CHARACTERS_PER_TOKEN * MAX_LENGTH
    counts: list[int] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        batch = [text[:max_characters] for text in texts[start : start + TEXTS_AT_ONCE]]
        counts.extend(len(encoding.ids) for encoding in encoder.tokenizer.encode_batch_fast(batch))
    return np.array(counts, dtype=np.int64)


def _count_all_rows(
    stats: BucketStats,
    table: pa.Table,
    words: NDArray[np.uint32],
    source: NDArray[np.intp],
    label: NDArray[np.intp],
    config: PrepareConfig,
) -> None:
    """Count duplicates and contradictions among all rows, kept or not."""
    text: NDArray[np.intp] = np.cumsum(np.diff(words, axis=0, prepend=words[:1]).any(axis=1)).astype(np.intp)
    duplicates = count_duplicates(text, source, label, num_sources=len(config.sources))
    stats.source_pairs += duplicates.source_pairs
    stats.counts.update(
        valid=len(table),
        repeated=duplicates.num_repeated,
        identical=len(table) - len(pc.unique(table["text"])),
        conflicting=int(duplicates.is_conflicting.sum()),
        conflicting_texts=duplicates.num_conflicting_texts,
    )
    stats.examples["conflicting"] = _take_conflicts(table, text, label, duplicates, config)


def _take_conflicts(
    table: pa.Table, text: NDArray[np.intp], label: NDArray[np.intp], duplicates: Duplicates, config: PrepareConfig
) -> list[ExampleRow]:
    rows = np.flatnonzero(duplicates.is_conflicting)
    texts, first = np.unique(text[rows], return_index=True)
    counts = []
    for number in texts[:MAX_EXAMPLES]:
        labels = Counter(config.labels[each] for each in label[text == number])
        counts.append(dict(sorted(labels.items())))
    return _take_examples(table, rows[first], config, labels=counts)


def _check_texts(stats: BucketStats, kept: pa.Table, source: NDArray[np.intp], config: PrepareConfig) -> None:
    texts = kept["text"].combine_chunks()
    flags = flag_texts(texts)
    for index, check in enumerate(TEXT_CHECKS):
        stats.flagged_rows[:, index] = np.bincount(source[flags[index]], minlength=len(config.sources))
        stats.examples[check.name] = _take_examples(kept, np.flatnonzero(flags[index]), config)
    stats.num_words = _count_lengths(count_words(texts))
    if config.model:
        encoder = _load_encoder(str(Path(config.model) / "tokenizer.json"), config.max_tokens)
        lengths = count_tokens(encoder, texts.to_pylist())
        stats.num_tokens = _count_lengths(lengths)
        stats.cut_rows += (lengths > config.max_tokens).sum()


def _count_clusters(
    stats: BucketStats, kept: pa.Table, split: NDArray[np.intp], matches: BucketMatches, config: PrepareConfig
) -> None:
    match = find_rows(matches.near_duplicates, kept["hash"].combine_chunks())
    rows = np.flatnonzero(match >= 0)
    matched = matches.near_duplicates.take(pa.array(match[rows]))
    cluster, is_example = matched["cluster"].to_numpy(), matched["is_example"].to_numpy(zero_copy_only=False)
    stats.clusters.update(zip(cluster.tolist(), split[rows].tolist(), strict=True))
    examples = rows[is_example]
    stats.examples["near_duplicates"] = _take_examples(
        kept, examples, config, limit=len(examples), cluster=cluster[is_example].tolist(),
        split=[SPLITS[each] for each in split[examples]],
    )  # fmt: skip


def _count_leaked(
    stats: BucketStats, kept: pa.Table, split: NDArray[np.intp], matches: BucketMatches, config: PrepareConfig
) -> None:
    match = find_rows(matches.leaked, kept["hash"].combine_chunks())
    rows = np.flatnonzero(match >= 0)
    matched = matches.leaked.take(pa.array(match[rows]))
    kind = np.where(matched["is_equal"].to_numpy(zero_copy_only=False), 0, 1)
    np.add.at(stats.leaked_rows, (split[rows], kind), 1)
    stats.examples["leaked"] = _take_examples(
        kept, rows, config, test_set_id=matched["test_set_id"].to_pylist(),
        split=[SPLITS[each] for each in split[rows]], similarity=[("equal", "similar")[each] for each in kind],
    )  # fmt: skip


def _sample_languages(stats: BucketStats, kept: pa.Table, rows: NDArray[np.intp], config: PrepareConfig) -> None:
    if not len(rows):
        return
    languages = detect_languages(kept["text"].take(pa.array(rows)).to_pylist())
    stats.languages.update(languages)
    other = [(row, code) for row, code in zip(rows, languages, strict=True) if code not in (config.language, UNCLEAR)]
    other_rows = np.array([row for row, _ in other], dtype=np.intp)
    stats.examples["language"] = _take_examples(kept, other_rows, config, language=[code for _, code in other])


def _take_examples(
    table: pa.Table, rows: NDArray[np.intp], config: PrepareConfig, *, limit: int = MAX_EXAMPLES, **more: Sequence[Any]
) -> list[ExampleRow]:
    """Return the first `rows` as examples; none where no text may be shown. `more` are values for each of `rows`."""
    if not config.report_samples:
        return []
    examples = _read_rows(table, rows[:limit], config, max_characters=EXAMPLE_CHARACTERS)
    return [row | {name: values[index] for name, values in more.items()} for index, row in enumerate(examples)]


def _read_rows(
    table: pa.Table, rows: NDArray[np.intp], config: PrepareConfig, *, max_characters: int
) -> list[ExampleRow]:
    columns = table.select(["hash", "source", "file", "row", "id", "text", "label", "rating"])
    return [
        {
            "hash": row["hash"].hex(),
            "id": row["id"],
            "file_key": (row["source"], row["file"]),
            "row": row["row"],
            "rating": row["rating"],
            "source": config.sources[row["source"]].name,
            "label": config.labels[row["label"]],
            "text": row["text"][:max_characters],
            "characters_left_out": max(0, len(row["text"]) - max_characters),
        }
        for row in columns.take(pa.array(rows)).to_pylist()
    ]


@lru_cache(maxsize=1)
def _load_encoder(path: str, max_tokens: int) -> TextEncoder:
    return load_encoder(Path(path), max_tokens=max_tokens)


def _count_lengths(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(np.minimum(lengths, MAX_LENGTH), minlength=MAX_LENGTH + 1).astype(np.int64)
