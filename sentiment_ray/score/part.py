"""Scores the rows of one unit into a Parquet file, chunk by chunk; knows no other unit and no protocol."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sentiment_ray.inference.drift import compute_profile
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.input_files.names import parse_hive_columns
from sentiment_ray.parquet_types import cast_column
from sentiment_ray.score.aggregation import sum_by_group
from sentiment_ray.score.chunks import RowChunk, extract_texts
from sentiment_ray.score.columns import (
    list_kept_names,
    make_added_columns,
    make_output_schema,
    open_part_writer,
    resolve_names,
    set_types,
)
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.distinct_texts import DistinctTexts
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.reading import check_row_group, open_parquet, read_chunks, select_row_groups
from sentiment_ray.score.text_cache import SharedTextCache
from sentiment_ray.score.unit_result import UnitResult


@dataclass(frozen=True)
class CrashingInputs:
    """Rows (counted from the first of the unit) and row groups that crash the process that touches them."""

    rows: Collection[int] = ()
    row_groups: Collection[int] = ()


def write_part(
    unit: Unit,
    config: ScoreConfig,
    predictor: Predictor,
    target: Path,
    *,
    types: pa.Schema,
    skip: CrashingInputs,
    tokens_per_batch: int,
    fingerprint: str,
    cache: SharedTextCache | None,
    end_chunk: Callable[[int, int], None],
) -> UnitResult:
    """Score the rows of a unit into a Parquet file; the result says which rows are not in it.

    Columns in `types` get the type that they have there. A text gets it last: only the rows that stay are UTF-8.
    `end_chunk` is called when a chunk has been scored, with the rows scored and quarantined so far. Errors as
    `read_chunks`.
    """
    result, texts = UnitResult(), DistinctTexts(predictor, tokens_per_batch, cache)
    with open_parquet(unit) as file:
        config = resolve_names(config, file.schema)
        typed = set_types(file.schema, types)
        kept_names = list_kept_names(config, typed)
        names = dict.fromkeys([*kept_names, *config.text_column, *([config.group_by] if config.group_by else [])])
        read_schema = pa.schema(
            [
                (file.schema if name in config.text_column else typed).field(name)
                for name in names
                if name in typed.names
            ]
        )
        schema = make_output_schema(config, predictor.labels, typed, predictor.manifest.bundle_id, fingerprint)
        chunks = read_chunks(
            file,
            read_schema,
            unit,
            max_row_bytes=config.max_row_bytes,
            skip_row_groups=skip.row_groups,
        )
        with open_part_writer(target, schema) as writer:
            for chunk in chunks:
                kept, scores = _score_chunk(chunk, unit, config, predictor, texts, skip.rows, result)
                end_chunk(result.num_scored, result.num_quarantined)
                if len(kept):
                    added = make_added_columns(config, predictor.labels, scores)
                    columns = [cast_column(kept[name], schema.field(name).type) for name in kept_names]
                    writer.write_table(pa.table([*columns, *added], schema=schema))
    result.num_duplicates = result.num_scored - texts.num_scored
    return result


def _score_chunk(
    chunk: RowChunk,
    unit: Unit,
    config: ScoreConfig,
    predictor: Predictor,
    distinct: DistinctTexts,
    skip_rows: Collection[int],
    result: UnitResult,
) -> tuple[pa.Table, Scores]:
    """Return the rows of a chunk that can be scored with their scores, and add the chunk to the result."""
    if chunk.table is None:
        result.quarantine(unit, chunk.first_row, chunk.num_rows, chunk.reason)
        return pa.table({}), distinct.score([])
    texts, reasons = extract_texts(chunk, config.text_column)
    for row in skip_rows:
        index = unit.first_row + row - chunk.first_row
        if 0 <= index < chunk.num_rows:
            reasons.setdefault(index, "scoring this text crashes the process")
            texts[index] = None
    for index in sorted(reasons):
        result.quarantine(unit, chunk.first_row + index, 1, reasons[index])
    good = [text for text in texts if text is not None]
    kept = chunk.table.filter(pa.array([text is not None for text in texts], pa.bool_()))
    scores = distinct.score(good)
    result.num_scored += len(good)
    result.add_profile(compute_profile(good, scores, predictor.labels))
    if config.group_by and good:
        groups = _get_group_column(kept, unit, config.group_by)
        result.add_group_sums(sum_by_group(groups, scores, predictor.labels, config.uncertain_below))
    return kept, scores


def _get_group_column(table: pa.Table, unit: Unit, name: str) -> pa.ChunkedArray:
    """Return a column of the rows or, if they have none of the name, of the file's path (year=2024/)."""
    if name in table.column_names:
        return table[name]
    value = parse_hive_columns(unit.part.split("/")[:-1])[name]
    return pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), len(table))])


def try_row_group(unit: Unit, row_group: int) -> None:
    """Read every column of one row group and keep nothing; this may end the process."""
    with open_parquet(unit) as file:
        check_row_group(file, file.schema, row_group, unit.group_rows[unit.row_groups.index(row_group)])


def try_rows(unit: Unit, config: ScoreConfig, predictor: Predictor, start: int, end: int, skip: CrashingInputs) -> None:
    """Score the rows `start` to `end`, counted from the unit's first, and keep nothing; this may end the process.

    Only their row groups are read, the last one no farther than needed.
    """
    with open_parquet(unit) as file:
        config = resolve_names(config, file.schema)
        texts_only = pa.schema([file.schema.field(name) for name in config.text_column])
        needed = select_row_groups(unit, start, end)
        chunks = read_chunks(
            file, texts_only, needed, max_row_bytes=config.max_row_bytes, skip_row_groups=skip.row_groups
        )
        for chunk in chunks:
            first = chunk.first_row - unit.first_row
            if chunk.table is not None:
                texts, _ = extract_texts(chunk, config.text_column)
                chosen = [text for row, text in enumerate(texts, first) if start <= row < end and row not in skip.rows]
                predictor.score([text for text in chosen if text is not None], tokens_per_batch=config.token_budget)
            if first + chunk.num_rows >= end:
                return
