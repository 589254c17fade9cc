"""Estimates the time and cost of a run from a sample that is scored on the cluster; writes nothing."""

import math
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.drift import compute_profile
from sentiment_ray.inference.predictor import PackedBundle, Predictor
from sentiment_ray.score.chunks import extract_texts
from sentiment_ray.score.columns import resolve_names
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.distinct_texts import DistinctTexts
from sentiment_ray.score.plan import NewPlan, Unit, count_unit_rows, make_unit
from sentiment_ray.score.reading import open_parquet, read_chunks

SAMPLE_UNITS = 16
SAMPLE_ROWS = 4_096
WARM_UP_ROWS = 64
MAX_MEASURE_S = 10.0
FIRST_BATCH_ROWS = 256
"""Rows of the first measurement; each further one has as many rows as all before it together."""


def estimate(config: ScoreConfig, new: NewPlan, bundle: PackedBundle, num_workers: int) -> dict[str, Any]:
    """Return rows, bytes, token lengths, duplicates, rows a second, time and cost of a plan.

    The speed is that of one worker on this cluster; the time assumes that workers do not slow each other down.
    """
    num_gpus = 1 if ENGINES[bundle.engine].is_gpu else 0
    task = ray.remote(num_cpus=config.cpus_per_worker, num_gpus=num_gpus, max_retries=0)(measure_sample)
    try:
        sample = ray.get(task.remote(config, _choose_sample_units(new), ray.put(bundle)))
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, SentimentRayError) else error) from None
    rate = sample["rows_per_s"]
    plan = new.plan
    seconds = new.num_rows / (rate * num_workers) if rate else None
    result = {
        "files": plan.identity.num_files,
        "files_unreadable": len(plan.bad_files),
        "rows": new.num_rows,
        "bytes": plan.identity.num_bytes,
        "units": new.num_units,
        "engine": bundle.engine,
        "variant": bundle.variant,
        **sample,
        "workers": num_workers,
        "expected_s": seconds and round(seconds, 1),
    }
    if config.price_per_hour and rate:
        result["expected_cost"] = round(new.num_rows / rate / 3600 * config.price_per_hour, 2)
    if config.within_hours and rate:
        result["workers_needed"] = max(1, math.ceil(new.num_rows / rate / 3600 / config.within_hours))
    return result


def measure_sample(config: ScoreConfig, units: Sequence[Unit], bundle: Any) -> dict[str, Any]:
    """Score up to SAMPLE_ROWS rows for about MAX_MEASURE_S seconds; return text lengths, shares and rows a second."""
    texts: list[str] = []
    rows_per_unit = math.ceil(SAMPLE_ROWS / max(1, len(units)))
    for unit in units:
        texts += _read_first_texts(config, unit, rows_per_unit)
    random.Random(0).shuffle(texts)
    predictor = Predictor(bundle, threads=config.threads_per_worker)
    predictor.score(texts[:WARM_UP_ROWS], tokens_per_batch=config.token_budget)
    distinct = DistinctTexts(predictor, config.token_budget)
    started, scored, profiles = time.monotonic(), 0, []
    while scored < len(texts) and (not scored or time.monotonic() - started < MAX_MEASURE_S):
        batch = texts[scored : scored + max(FIRST_BATCH_ROWS, scored)]
        profiles.append(compute_profile(batch, distinct.score(batch), predictor.labels))
        scored += len(batch)
    seconds = time.monotonic() - started
    lengths: dict[str, int] = {}
    for profile in profiles:
        for name, count in profile["tokens"].items():
            lengths[name] = lengths.get(name, 0) + count
    return {
        "sample_rows": scored,
        "tokens": lengths,
        "truncated_share": round(sum(profile["truncated"] for profile in profiles) / scored, 4) if scored else None,
        "duplicate_share": round(1 - distinct.num_scored / scored, 4) if scored else None,
        "rows_per_s": round(scored / seconds, 1) if scored else 0.0,
    }


def _choose_sample_units(new: NewPlan) -> list[Unit]:
    filled = [(table, index) for table in new.tables for index in np.flatnonzero(count_unit_rows(table)).tolist()]
    chosen = random.Random(0).sample(filled, min(SAMPLE_UNITS, len(filled)))
    return [make_unit(table, index, 0) for table, index in chosen]


def _read_first_texts(config: ScoreConfig, unit: Unit, count: int) -> list[str]:
    with open_parquet(unit) as file:
        config = resolve_names(config, file.schema)
        schema = pa.schema([file.schema.field(name) for name in config.text_column])
        for chunk in read_chunks(file, schema, unit, max_row_bytes=config.max_row_bytes):
            if chunk.table is not None:
                texts, _ = extract_texts(chunk, config.text_column)
                return [text for text in texts if text is not None][:count]
    return []
