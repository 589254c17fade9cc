"""Looks at the rows of one bucket while they are divided, and adds up what was found; knows no files and no Ray.

Sample rows are the first by hash: the same ones on every machine, however the work was cut.
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

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.hashing import LAST_WORD
from sentiment_ray.data.relations import Relations, words_from
from sentiment_ray.data.report.duplicates import Repeats, repeats_of
from sentiment_ray.data.report.language import languages_of
from sentiment_ray.data.report.text_flags import FLAGS, count_words, flags_of
from sentiment_ray.text.encoding import MAX_CHARACTERS_PER_TOKEN, TextEncoder, load_encoder

LONGEST = 8192
"""Longest length, in words or tokens, that has a count of its own; longer texts count as this."""
MAX_SAMPLES = 5
ROWS_PER_CLUSTER = 4
SAMPLE_CHARACTERS = 300
DRAWN_CHARACTERS = 8192
TEXTS_AT_ONCE = 512
Sample = dict[str, Any]


@dataclass(frozen=True)
class Looking:
    """What a survey is told beside the configuration: which shares of the rows the costly checks look at."""

    suspect_share: float = 0.0
    language_share: float = 0.0


@dataclass
class Survey:
    """What the checks found; lengths are counts by length, `(LONGEST + 1,)`."""

    kept: NDArray[np.int64]
    """`(sources, splits, labels)`."""
    flags: NDArray[np.int64]
    """`(sources, FLAGS)`, of the kept rows."""
    matrix: NDArray[np.int64]
    """`(sources, sources)`, see Repeats."""
    leaked: NDArray[np.int64]
    """`(splits, 2)`: kept rows that equal one of the test set, and those that resemble one."""
    words: NDArray[np.int64]
    tokens: NDArray[np.int64]
    cut: NDArray[np.int64]
    """`()`: kept rows with more than `max_tokens` tokens."""
    counts: Counter[str] = field(default_factory=Counter)
    """good, repeated, identical, conflicting, conflicting_texts."""
    languages: Counter[str] = field(default_factory=Counter)
    clusters: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Kept rows by cluster of near duplicates and split."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    drawn: list[Sample] = field(default_factory=list)
    """The rows among which wrong labels are looked for."""


def new_survey(config: PrepareConfig) -> Survey:
    """Return a survey of no rows."""
    sources = len(config.sources)
    return Survey(
        kept=np.zeros((sources, len(SPLITS), len(config.labels)), dtype=np.int64),
        flags=np.zeros((sources, len(FLAGS)), dtype=np.int64),
        matrix=np.zeros((sources, sources), dtype=np.int64),
        leaked=np.zeros((len(SPLITS), 2), dtype=np.int64),
        words=np.zeros(LONGEST + 1, dtype=np.int64),
        tokens=np.zeros(LONGEST + 1, dtype=np.int64),
        cut=np.zeros((), dtype=np.int64),
    )


def survey_bucket(
    table: pa.Table, outcome: NDArray[np.intp], *, config: PrepareConfig, relations: Relations, looking: Looking
) -> Survey:
    """Look at the rows of a bucket, `table` with the columns hash, source, id, text, label, rating.

    Rows with equal hashes stand side by side; `outcome` `(rows,)` of those that are kept is their split.
    """
    survey = new_survey(config)
    words = words_from(table["hash"])
    group: NDArray[np.intp] = np.cumsum(np.diff(words, axis=0, prepend=words[:1]).any(axis=1)).astype(np.intp)
    source, label = (table[name].to_numpy().astype(np.intp) for name in ("source", "label"))
    repeats = repeats_of(group, source, label, num_sources=len(config.sources))
    survey.matrix += repeats.matrix
    survey.counts.update(
        good=len(table),
        repeated=repeats.repeated,
        identical=len(table) - len(pc.unique(table["text"])),
        conflicting=int(repeats.conflicting_rows.sum()),
        conflicting_texts=repeats.conflicting_texts,
    )
    sampled = _Sampler(config)
    _sample_conflicts(survey, table, group, repeats, sampled)
    is_kept = outcome < len(SPLITS)
    kept, split = table.filter(pa.array(is_kept)).combine_chunks(), outcome[is_kept]
    np.add.at(survey.kept, (source[is_kept], split, label[is_kept]), 1)
    if len(kept):
        _look_at_texts(survey, kept, source[is_kept], config, sampled)
        _look_at_relations(survey, kept, split, relations, sampled)
        _look_at_few(survey, kept, words[is_kept, LAST_WORD] / 2**32, looking, sampled)
    return survey


def add_surveys(config: PrepareConfig, surveys: Sequence[Survey]) -> Survey:
    """Return the sum, in whatever order the surveys come."""
    total = new_survey(config)
    for each in surveys:
        for name in ("kept", "flags", "matrix", "leaked", "words", "tokens", "cut"):
            getattr(total, name).__iadd__(getattr(each, name))
        for name in ("counts", "languages", "clusters"):
            getattr(total, name).update(getattr(each, name))
        for kind, samples in each.samples.items():
            total.samples.setdefault(kind, []).extend(samples)
        total.drawn.extend(each.drawn)
    for samples in (*total.samples.values(), total.drawn):
        samples.sort(key=lambda sample: (sample["hash"], sample["id"]))
    return total


class _Sampler:
    """Turns rows into samples, or into nothing where none may be shown."""

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config

    def take(self, table: pa.Table, places: NDArray[np.intp], *, most: int = MAX_SAMPLES, **more: Any) -> list[Sample]:
        """Return the first rows at `places`, each of `more` a list beside them."""
        if not self.config.report_samples:
            return []
        return self.rows(table, places[:most], SAMPLE_CHARACTERS, **more)

    def rows(self, table: pa.Table, places: NDArray[np.intp], characters: int, **more: Any) -> list[Sample]:
        rows = table.select(["hash", "source", "id", "text", "label", "rating"]).take(pa.array(places)).to_pylist()
        samples = []
        for place, row in enumerate(rows):
            names = {"source": self.config.sources[row["source"]].name, "label": self.config.labels[row["label"]]}
            text = {"text": row["text"][:characters], "left_out": max(0, len(row["text"]) - characters)}
            extra = {name: values[place] for name, values in more.items()}
            samples.append({"hash": row["hash"].hex(), "id": row["id"], "rating": row["rating"]} | names | text | extra)
        return samples


def _sample_conflicts(
    survey: Survey, table: pa.Table, group: NDArray[np.intp], repeats: Repeats, sampled: _Sampler
) -> None:
    places = np.flatnonzero(repeats.conflicting_rows)
    groups, first = np.unique(group[places], return_index=True)
    found = []
    for one in groups[:MAX_SAMPLES]:
        labels = Counter(
            sampled.config.labels[label]
            for label in table["label"].take(pa.array(places[group[places] == one])).to_pylist()
        )
        found.append(dict(sorted(labels.items())))
    survey.samples["conflicting"] = sampled.take(table, places[first], labels=found)


def _look_at_texts(
    survey: Survey, kept: pa.Table, source: NDArray[np.intp], config: PrepareConfig, sampled: _Sampler
) -> None:
    texts = kept["text"].combine_chunks()
    flags = flags_of(texts)
    for place, name in enumerate(FLAGS):
        survey.flags[:, place] = np.bincount(source[flags[place]], minlength=len(config.sources))
        survey.samples[name] = sampled.take(kept, np.flatnonzero(flags[place]))
    survey.words = _histogram(count_words(texts))
    if config.model:
        encoder = _encoder(str(Path(config.model) / "tokenizer.json"), config.max_tokens)
        lengths = count_tokens(encoder, texts.to_pylist())
        survey.tokens = _histogram(lengths)
        survey.cut += (lengths > config.max_tokens).sum()


def count_tokens(encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of tokens of each text, special ones included, `(texts,)`; of an endless one at least some."""
    longest = MAX_CHARACTERS_PER_TOKEN * LONGEST
    counts: list[int] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        portion = [text[:longest] for text in texts[start : start + TEXTS_AT_ONCE]]
        counts.extend(len(encoding.ids) for encoding in encoder.tokenizer.encode_batch_fast(portion))
    return np.array(counts, dtype=np.int64)


@lru_cache(maxsize=1)
def _encoder(path: str, max_tokens: int) -> TextEncoder:
    return load_encoder(Path(path), max_tokens=max_tokens)


def _histogram(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1).astype(np.int64)


def _look_at_relations(
    survey: Survey, kept: pa.Table, split: NDArray[np.intp], relations: Relations, sampled: _Sampler
) -> None:
    hashes = kept["hash"].combine_chunks()
    place = relations.place_in(relations.near, hashes)
    is_near = np.flatnonzero(place >= 0)
    near = relations.near.take(pa.array(place[is_near]))
    cluster, is_shown = near["cluster"].to_numpy(), near["shown"].to_numpy(zero_copy_only=False)
    survey.clusters.update(zip(cluster.tolist(), split[is_near].tolist(), strict=True))
    shown = is_near[is_shown]
    survey.samples["near_duplicates"] = sampled.take(
        kept, shown, most=len(shown), cluster=cluster[is_shown].tolist(),
        split=[SPLITS[each] for each in split[shown]],
    )  # fmt: skip
    place = relations.place_in(relations.leaked, hashes)
    is_leaked = np.flatnonzero(place >= 0)
    leaked = relations.leaked.take(pa.array(place[is_leaked]))
    kind = np.where(leaked["is_exact"].to_numpy(zero_copy_only=False), 0, 1)
    np.add.at(survey.leaked, (split[is_leaked], kind), 1)
    survey.samples["leaked"] = sampled.take(
        kept, is_leaked, known=leaked["known"].to_pylist(), split=[SPLITS[each] for each in split[is_leaked]],
        how=["equal" if each == 0 else "similar" for each in kind],
    )  # fmt: skip


def _look_at_few(
    survey: Survey, kept: pa.Table, choice: NDArray[np.float64], looking: Looking, sampled: _Sampler
) -> None:
    """Look at the rows whose `choice` `(rows,)`, from 0 to 1, is small: these checks are too dear for all of them.

    It comes from the word of the hash that no split and no share of a source is drawn by.
    """
    if looking.language_share:
        places = np.flatnonzero(choice < looking.language_share)
        found = languages_of(kept["text"].take(pa.array(places)).to_pylist())
        survey.languages.update(found)
        expected = (sampled.config.language, "?")
        other = np.array(
            [place for place, code in zip(places, found, strict=True) if code not in expected], dtype=np.intp
        )
        codes = [code for code in found if code not in expected]
        survey.samples["language"] = sampled.take(kept, other, language=codes)
    if looking.suspect_share:
        survey.drawn = sampled.rows(kept, np.flatnonzero(choice < looking.suspect_share), DRAWN_CHARACTERS)
