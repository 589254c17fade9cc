"""Runs the checks that need tasks of their own, before and after the rows are divided; knows Ray through run_tasks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.config import PrepareConfig, Source
from sentiment_ray.data.leakage import Related, collect_known, relate, sign
from sentiment_ray.data.ray_tasks import run_tasks
from sentiment_ray.data.readers.delimited import columns_of_text_file
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.data.report.bucket_stats import SAMPLE_CHARACTERS, Looking, Sample, Survey
from sentiment_ray.data.shuffle import Plan
from sentiment_ray.data.sources import InputFile, check_files, list_files, resolve
from sentiment_ray.errors import ConfigError, DataError, require_extra

Embed = Callable[[str, Sequence[str], int], NDArray[np.float32]]
"""From a model, texts and `max_tokens` to unit vectors float32 `(texts, width)`."""
LANGUAGE_ROWS = 20_000
TEXTS_PER_TASK = 500
MAX_SUSPECTS_SHOWN = 10
MAX_RATINGS = 20


@dataclass(frozen=True)
class TestSet:
    """An external test set: what it is read from."""

    sources: tuple[Source, ...] = ()
    units: tuple[Unit, ...] = ()
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Embedded:
    number: int
    vectors: NDArray[np.float32]


def check_config(config: PrepareConfig) -> None:
    """ConfigError for a check that cannot be run as it is configured; MissingExtraError when its library is missing."""
    if config.model:
        require_extra("check", "cleanlab", "sklearn")
        if not (Path(config.model) / "tokenizer.json").is_file():
            raise ConfigError(
                f"model = {config.model!r} holds no tokenizer.json. Name the directory of an encoder with a fast "
                "tokenizer."
            )
    if config.language:
        from sentiment_ray.data.report.language import check_language

        check_language(config.language)


def list_test_set(config: PrepareConfig) -> TestSet:
    """Return what `against` is read from; ConfigError or DataError when a file or a column is missing."""
    if not config.against:
        return TestSet()
    columns = config.against_text_column or config.sources[0].text_column
    sources = tuple(
        {"path": path, "name": path, "text_column": columns, "label_column": columns[0]} for path in config.against
    )
    alone = resolve(PrepareConfig.model_validate({"output": config.output, "sources": sources}))
    files = list_files(alone)
    # An external test set has no format of its own to be told: lines with messages and without its columns are chats.
    files = [replace(file, format="chat") if _holds_chats(file, columns) else file for file in files]
    return TestSet(alone.sources, tuple(check_files(alone, files)), tuple(file.path for file in files))


def _holds_chats(file: InputFile, columns: Sequence[str]) -> bool:
    keys = columns_of_text_file(file.path, file.format) if file.format == "jsonl" else []
    return "messages" in keys and not set(columns) & set(keys)


def relate_rows(plan: Plan, bucket_files: Sequence[Path], known: TestSet, *, good_rows: int) -> Related | None:
    """Find near duplicates and what stands in the test set, and write it where dividing reads it.

    None when neither is asked for. DataError when clusters are to be kept together and there are too many rows.
    """
    config = plan.config
    if not config.near_duplicates and not known.units:
        return None
    if config.keep_together and good_rows > config.near_duplicate_rows:
        raise DataError(
            f"keep_together compares all {good_rows:,} rows, more than near_duplicate_rows = "
            f"{config.near_duplicate_rows:,} allows. Raise it (some 600 bytes a row), or leave keep_together out."
        )
    batches = [(plan, number, [unit], known.sources) for number, unit in enumerate(known.units)]
    known_rows = sum(run_tasks(collect_known, batches, title="Reading against")) if batches else 0
    shares = [min(1.0, config.near_duplicate_rows / max(1, rows)) for rows in (good_rows, known_rows)]
    tasks = [(plan, bucket, bucket_files, *shares) for bucket in range(plan.num_buckets)]
    run_tasks(sign, tasks, title="Signing")
    if not config.near_duplicates:
        return Related(known=known_rows)
    related: Related = run_tasks(relate, [(plan,)], title="Comparing")[0]
    return replace(related, known=known_rows, share=shares[0], known_share=shares[1])


def looking_at(config: PrepareConfig, good_rows: int) -> Looking:
    """Return which shares of the rows the costly checks look at."""
    rows = max(1, good_rows)
    return Looking(
        suspect_share=min(1.0, config.suspect_rows / rows) if config.model else 0.0,
        language_share=min(1.0, LANGUAGE_ROWS / rows) if config.language else 0.0,
    )


def suspect_labels(config: PrepareConfig, survey: Survey, embed: Embed | None) -> dict[str, Any]:
    """Return counts of suspected labels and sample rows, or `not_run` with the reason."""
    if not config.model:
        return {"not_run": "no base encoder is named: model"}
    if embed is None:
        return {"not_run": "no encoder was given to prepare_reviews; jobs.prepare_reviews gives one"}
    drawn, labels = survey.drawn[: config.suspect_rows], {label: place for place, label in enumerate(config.labels)}
    if not drawn:
        return {"not_run": "no row is kept"}
    from sentiment_ray.data.report.label_issues import find_suspects

    texts = [row["text"] for row in drawn]
    batches = [
        (embed, config.model, number, texts[start : start + TEXTS_PER_TASK], config.max_tokens)
        for number, start in enumerate(range(0, len(texts), TEXTS_PER_TASK))
    ]
    embedded = sorted(run_tasks(_embed, batches, title="Embedding"), key=lambda each: each.number)
    features = np.concatenate([each.vectors for each in embedded])
    given = np.array([labels[row["label"]] for row in drawn], dtype=np.intp)
    found = find_suspects(features, given, seed=config.seed)
    if found is None:
        return {"not_run": f"fewer than two labels have enough rows among the {len(drawn)} that were drawn"}
    rows = [drawn[place] for place in found.rows]
    looked_at = [drawn[place] for place in found.looked_at]
    shown = [
        _shown(row) | {"proposed": config.labels[proposed], "probability": round(float(probability), 4)}
        for row, proposed, probability in zip(rows, found.proposed, found.probability, strict=True)
    ][:MAX_SUSPECTS_SHOWN]
    return {
        "rows": len(rows),
        "of": len(looked_at),
        "by_label": _by(rows, looked_at, "label"),
        "by_source": _by(rows, looked_at, "source"),
        "by_rating": _by_rating(rows, looked_at),
        "samples": shown if config.report_samples else [],
    }


def _embed(embed: Embed, model: str, number: int, texts: Sequence[str], max_tokens: int) -> _Embedded:
    return _Embedded(number, embed(model, texts, max_tokens))


def _by(rows: list[Sample], looked_at: list[Sample], name: str) -> dict[str, dict[str, int]]:
    suspected, all_rows = (Counter(row[name] for row in each) for each in (rows, looked_at))
    return {value: {"rows": suspected[value], "of": all_rows[value]} for value in sorted(all_rows)}


def _by_rating(rows: list[Sample], looked_at: list[Sample]) -> dict[str, dict[str, int]]:
    """Return the counts by the number that a label was mapped from; nothing where there are none, or no few of them."""
    ratings = sorted({row["rating"] for row in looked_at if row["rating"] is not None})
    if len(ratings) > MAX_RATINGS:
        return {}
    suspected, all_rows = (Counter(row["rating"] for row in each) for each in (rows, looked_at))
    return {f"{rating:g}": {"rows": suspected[rating], "of": all_rows[rating]} for rating in ratings}


def _shown(row: Sample) -> Sample:
    text = row["text"]
    left_out = row["left_out"] + max(0, len(text) - SAMPLE_CHARACTERS)
    return row | {"text": text[:SAMPLE_CHARACTERS], "left_out": left_out}
