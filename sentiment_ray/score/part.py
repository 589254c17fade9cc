"""Turns the rows of one unit into a Parquet file of scores, window by window; knows no other unit and no protocol."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from sentiment_ray.inference.drift import profile_of
from sentiment_ray.inference.predictor import Predictor, Scores, in_order
from sentiment_ray.score.columns import added_columns, kept_names, output_schema, part_writer
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.groups import group_scores
from sentiment_ray.score.memory import DIGEST_BYTES, from_rows, to_rows
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.reading import Window, check_row_group, open_parquet, read_windows, texts_of

MIN_TOKENS_PER_BATCH = 64
SHARED_TEXTS = 256
"""Texts after which their scores are shared with the other actors: a second or two of work."""


@dataclass
class Outcome:
    """What became of a unit's rows: how many were scored, which were not, and sums over those that were."""

    num_scored: int = 0
    num_duplicates: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[dict[str, Any]] = field(default_factory=list)
    groups: list[pa.Table] = field(default_factory=list)

    def set_aside(self, unit: Unit, row: int, rows: int, reason: str) -> None:
        """Note `rows` neighbouring rows that cannot be scored."""
        self.quarantined.append({"path": unit.path, "row": row, "rows": rows, "reason": reason})


@dataclass(frozen=True)
class Without:
    """Rows (counted from the unit's first) and row groups that are known to end the process that touches them."""

    rows: Collection[int] = ()
    row_groups: Collection[int] = ()


class DistinctTexts:
    """Scores every distinct text of a unit once, and none that an actor of the run has scored, where `memory` is given.

    The bytes of a part must not depend on what was scored before, so there is a memory only where the engine gives a
    text the same bits whatever it is scored with; see `Predictor.is_batch_invariant`.
    """

    def __init__(self, predictor: Predictor, tokens_per_batch: int, memory: Any = None) -> None:
        self._predictor = predictor
        self._tokens_per_batch = tokens_per_batch
        self._memory = memory
        self._places: dict[bytes, int] = {}
        self._scores = predictor.score([])
        self.num_scored = 0

    def score(self, texts: Sequence[str]) -> Scores:
        """Return the scores of texts in their order."""
        places = np.empty(len(texts), dtype=np.int64)
        fresh: dict[bytes, str] = {}
        for row, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
            places[row] = self._places.setdefault(digest, len(self._places))
            if places[row] == len(self._scores.label_ids) + len(fresh):
                fresh[digest] = text
        if fresh:
            self._scores = _join(self._scores, self._score_fresh(fresh))
        return _take(self._scores, places)

    def _score_fresh(self, fresh: dict[bytes, str]) -> Scores:
        """Return the scores of texts that this unit has not met, those that the memory holds without scoring them."""
        texts = list(fresh.values())
        if self._memory is not None:
            scored_before = self.num_scored
            try:
                digests = np.frombuffer(b"".join(fresh), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
                return self._score_with_memory(digests, texts)
            except ray.exceptions.RayError:
                self._memory = None  # it died with its node; every text is scored from here on
                self.num_scored = scored_before
        return in_order(self._score_in_batches(texts), len(texts))

    def _score_with_memory(self, digests: NDArray[np.uint8], texts: Sequence[str]) -> Scores:
        """Score what nobody has scored or is about to; what others were about to and have not yet, in the end.

        Batches come longest first: what is not there yet when another asks for it at its end is then what costs least.
        """
        like = self._predictor.score([])
        rows = np.zeros((len(texts), to_rows(like).shape[1]), dtype=np.uint8)

        def score(wanted: NDArray[np.intp]) -> None:
            ready: list[NDArray[np.intp]] = []
            for places, scores in self._score_in_batches([texts[int(place)] for place in wanted]):
                rows[wanted[places]] = to_rows(scores)
                ready.append(wanted[places])
                if sum(map(len, ready)) >= SHARED_TEXTS:
                    share(ready)
            share(ready)

        def share(ready: list[NDArray[np.intp]]) -> None:
            if ready:
                places = np.concatenate(ready)
                self._memory.remember.remote(digests[places], rows[places])
                ready.clear()

        known, recalled, claimed = ray.get(self._memory.claim.remote(digests))
        _fill(rows, np.flatnonzero(known), recalled)
        score(np.flatnonzero(~known & ~claimed))
        theirs = np.flatnonzero(claimed)
        if len(theirs):
            known, recalled = ray.get(self._memory.recall.remote(digests[theirs]))
            _fill(rows, theirs[known], recalled)
            score(theirs[~known])
        return from_rows(rows, like=like)

    def _score_in_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], Scores]]:
        """Yield places and scores of batches; from the start, in batches of half the size, when memory gives out."""
        if not texts:
            return
        self.num_scored += len(texts)
        while True:
            try:
                yield from self._predictor.score_in_batches(texts, tokens_per_batch=self._tokens_per_batch)
                return
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or self._tokens_per_batch <= MIN_TOKENS_PER_BATCH:
                    raise
                self._tokens_per_batch //= 2


def write_part(
    unit: Unit,
    config: ScoreConfig,
    predictor: Predictor,
    target: Path,
    *,
    without: Without,
    tokens_per_batch: int,
    certain: bool,
    memory: Any,
    report: Callable[[int, int], None],
) -> Outcome:
    """Score the rows of a unit into a Parquet file; what cannot be scored is noted in the outcome.

    `report` is told the rows scored and set aside so far. OSError as `read_windows` says.
    """
    outcome, texts = Outcome(), DistinctTexts(predictor, tokens_per_batch, memory)
    with open_parquet(unit) as file:
        source = file.schema
        wanted = kept_names(config, source)
        needed = [*wanted, *config.text_column, *([config.group_by] if config.group_by else [])]
        reading = pa.schema([source.field(name) for name in dict.fromkeys(needed)])
        schema = output_schema(config, predictor.labels, source, predictor.manifest.bundle_id)
        windows = read_windows(
            file, reading, unit, max_row_bytes=config.max_row_bytes, without=without.row_groups, certain=certain
        )
        with part_writer(target, schema) as writer:
            for window in windows:
                kept, scores = _score_window(window, unit, config, predictor, texts, without.rows, outcome)
                if len(kept):
                    columns = [*(kept[name] for name in wanted), *added_columns(config, predictor.labels, scores)]
                    writer.write_table(pa.table(columns, schema=schema))
                report(outcome.num_scored, sum(row["rows"] for row in outcome.quarantined))
    outcome.num_duplicates = outcome.num_scored - texts.num_scored
    return outcome


def _score_window(
    window: Window,
    unit: Unit,
    config: ScoreConfig,
    predictor: Predictor,
    distinct: DistinctTexts,
    bad_rows: Collection[int],
    outcome: Outcome,
) -> tuple[pa.Table, Scores]:
    """Return the rows of a window that can be scored and their scores, and note the others."""
    if window.table is None:
        outcome.set_aside(unit, window.first_row, window.num_rows, window.reason)
        return pa.table({}), distinct.score([])
    texts, reasons = texts_of(window, config.text_column)
    for row in bad_rows:
        place = unit.first_row + row - window.first_row
        if 0 <= place < window.num_rows:
            reasons.setdefault(place, "scoring this text ends the process that does")
            texts[place] = None
    for place in sorted(reasons):
        outcome.set_aside(unit, window.first_row + place, 1, reasons[place])
    good = [text for text in texts if text is not None]
    kept = window.table.filter(pa.array([text is not None for text in texts], pa.bool_()))
    scores = distinct.score(good)
    outcome.num_scored += len(good)
    outcome.profiles.append(profile_of(good, scores, predictor.labels))
    if config.group_by and good:
        outcome.groups.append(group_scores(kept[config.group_by], scores, predictor.labels, config.uncertain_below))
    return kept, scores


def try_read(unit: Unit, row_group: int) -> None:
    """Read every column of one row group and keep nothing; it may end the process."""
    with open_parquet(unit) as file:
        check_row_group(file, file.schema, row_group, unit.group_rows[unit.row_groups.index(row_group)])


def try_rows(unit: Unit, config: ScoreConfig, predictor: Predictor, start: int, end: int, without: Without) -> None:
    """Score the rows of a unit from `start` to `end`, counted from its first, and keep nothing; may end the process."""
    with open_parquet(unit) as file:
        texts_only = pa.schema([file.schema.field(name) for name in config.text_column])
        windows = read_windows(file, texts_only, unit, max_row_bytes=config.max_row_bytes, without=without.row_groups)
        for window in windows:
            at = window.first_row - unit.first_row
            if window.table is None or at + window.num_rows <= start or at >= end:
                continue
            texts, _ = texts_of(window, config.text_column)
            chosen = [text for row, text in enumerate(texts, at) if start <= row < end and row not in without.rows]
            predictor.score([text for text in chosen if text is not None], tokens_per_batch=config.tokens_per_batch)


def _fill(rows: NDArray[np.uint8], places: NDArray[np.int64], recalled: NDArray[np.uint8]) -> None:
    if len(places):  # a memory that has met nothing yet does not know how wide its rows are
        rows[places] = recalled


def _take(scores: Scores, places: NDArray[np.int64]) -> Scores:
    return Scores(*(getattr(scores, column.name)[places] for column in fields(Scores)))


def _join(first: Scores, second: Scores) -> Scores:
    return Scores(
        *(np.concatenate([getattr(first, column.name), getattr(second, column.name)]) for column in fields(Scores))
    )


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in ("bad_alloc", "allocate", "out of memory"))
