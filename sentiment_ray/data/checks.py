"""Runs the checks that need tasks of their own, before and after the rows are split. Starts tasks by run_tasks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.leakage import Comparison, compare_texts, write_signatures, write_test_set
from sentiment_ray.data.ray_tasks import run_tasks
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.report.bucket_stats import EXAMPLE_CHARACTERS, BucketStats, ExampleRow
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import ConfigError, DataError, require_extra
from sentiment_ray.pretrained.open import open_model

EmbedTexts = Callable[[str, Sequence[str], int], NDArray[np.float32]]
"""From a model, texts and `max_tokens` to unit vectors float32 `(texts, width)`."""
TEXTS_PER_TASK = 500
MAX_LABEL_ISSUES_SHOWN = 10
MAX_RATINGS = 20


@dataclass(frozen=True)
class TestSet:
    """An external test set: the files it is read from, and how."""

    sources: tuple[Source, ...] = ()
    tasks: tuple[ReadTask, ...] = ()
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _EmbeddedBatch:
    number: int
    vectors: NDArray[np.float32]


def require_check_inputs(config: PrepareConfig) -> None:
    """Raise ConfigError for a check that cannot run as configured, and MissingExtraError without its library."""
    if config.model:
        require_extra("check", "cleanlab", "sklearn")
        if not (Path(config.model) / "tokenizer.json").is_file():
            raise ConfigError(
                f"model = {config.model!r} holds no tokenizer.json. Name the directory of an encoder with a fast "
                "tokenizer."
            )
        with open_model(Path(config.model).absolute()):
            pass  # it may be a stranger's, so all of it is checked before its tokenizer counts anything
    if config.language:
        from sentiment_ray.data.report.language import check_language

        check_language(config.language)


def list_test_set(config: PrepareConfig) -> TestSet:
    """Return the files of `against`. Raises ConfigError or DataError when a file or a column is missing."""
    if not config.against:
        return TestSet()
    columns = config.against_text_column or config.sources[0].text_column
    sources = tuple(
        {"path": path, "name": path, "text_column": columns, "label_column": columns[0]} for path in config.against
    )
    test_config = resolve_paths(PrepareConfig.model_validate({"output": config.output, "sources": sources}))
    files = list_files(test_config)
    tasks = make_read_tasks(test_config, files)
    return TestSet(test_config.sources, tuple(tasks), tuple(file.path for file in files))


def compare_rows(
    job: PrepareJob, bucket_files: Sequence[Path], test_set: TestSet, *, num_rows: int
) -> Comparison | None:
    """Find near duplicates and rows that are also in the test set, and write them for the tasks that split the rows.

    Returns None when neither check is wanted. Raises DataError when `keep_together` would compare too many rows.
    """
    config = job.config
    if not config.near_duplicates and not test_set.tasks:
        return None
    if config.keep_together and num_rows > config.near_duplicate_rows:
        raise DataError(
            f"keep_together compares all {num_rows:,} rows, more than near_duplicate_rows = "
            f"{config.near_duplicate_rows:,} allows. Raise it (some 600 bytes a row), or remove keep_together."
        )
    batches = [(job, number, [task], test_set.sources) for number, task in enumerate(test_set.tasks)]
    num_test_set_texts = sum(run_tasks(write_test_set, batches, title="Reading against"))
    share, test_set_share = (
        min(1.0, config.near_duplicate_rows / max(1, rows)) for rows in (num_rows, num_test_set_texts)
    )
    tasks = [(job, bucket, bucket_files, share, test_set_share) for bucket in range(job.num_buckets)]
    run_tasks(write_signatures, tasks, title="Signing")
    if not config.near_duplicates:
        return Comparison(num_test_set_texts=num_test_set_texts)
    comparison: Comparison = run_tasks(compare_texts, [(job,)], title="Comparing")[0]
    return replace(comparison, num_test_set_texts=num_test_set_texts, share=share, test_set_share=test_set_share)


def search_label_issues(
    config: PrepareConfig, stats: BucketStats, tasks: Sequence[ReadTask], embed: EmbedTexts | None
) -> dict[str, Any]:
    """Return counts and examples of labels that are probably wrong, and all of them as `ranked`.

    If the check cannot run, `not_run` is the reason. `tasks` are those that read the rows.
    """
    if not config.model:
        return {"not_run": "model is not set"}
    if embed is None:
        return {"not_run": "prepare_reviews was called without embed; jobs.prepare_reviews passes it"}
    rows = stats.label_issue_rows[: config.suspect_rows]
    if not rows:
        return {"not_run": "no row was kept"}
    from sentiment_ray.data.report.label_issues import find_label_issues

    features = _embed_rows(config, rows, embed)
    labels = np.array([config.labels.index(row["label"]) for row in rows], dtype=np.intp)
    issues = find_label_issues(features, labels, seed=config.seed)
    if issues is None:
        return {"not_run": f"fewer than two labels have enough rows among the {len(rows)} that were examined"}
    wrong_rows = [rows[row] for row in issues.rows]
    examined_rows = [rows[row] for row in issues.examined_rows]
    predicted = [config.labels[label] for label in issues.predicted]
    probabilities = [round(float(probability), 4) for probability in issues.probability]
    issue_lines = list(zip(wrong_rows, predicted, probabilities, strict=True))
    examples = [
        _shorten_row(row) | {"predicted": label, "probability": probability}
        for row, label, probability in issue_lines[:MAX_LABEL_ISSUES_SHOWN]
    ]
    paths = {(task.source_index, task.file_index): task.path for task in tasks}
    ranked = [
        {"rank": rank, "id": row["id"], "source": row["source"], "file": paths[row["file_key"]], "row": row["row"],
         "given": row["label"], "suggested": label, "probability": probability}
        for rank, (row, label, probability) in enumerate(issue_lines, start=1)
    ]  # fmt: skip
    return {
        "rows": len(wrong_rows),
        "of": len(examined_rows),
        "by_label": _count_by(wrong_rows, examined_rows, "label"),
        "by_source": _count_by(wrong_rows, examined_rows, "source"),
        "by_rating": _count_by_rating(wrong_rows, examined_rows),
        "examples": examples if config.report_samples else [],
        "ranked": ranked,
    }


def _shorten_row(row: ExampleRow) -> ExampleRow:
    characters_left_out = row["characters_left_out"] + max(0, len(row["text"]) - EXAMPLE_CHARACTERS)
    return row | {"text": row["text"][:EXAMPLE_CHARACTERS], "characters_left_out": characters_left_out}


def _embed_rows(config: PrepareConfig, rows: Sequence[ExampleRow], embed: EmbedTexts) -> NDArray[np.float32]:
    texts = [row["text"] for row in rows]
    tasks = [
        (embed, config.model, number, texts[start : start + TEXTS_PER_TASK], config.max_tokens)
        for number, start in enumerate(range(0, len(texts), TEXTS_PER_TASK))
    ]
    batches = sorted(run_tasks(_embed_batch, tasks, title="Embedding"), key=lambda batch: batch.number)
    return np.concatenate([batch.vectors for batch in batches])


def _embed_batch(embed: EmbedTexts, model: str, number: int, texts: Sequence[str], max_tokens: int) -> _EmbeddedBatch:
    return _EmbeddedBatch(number, embed(model, texts, max_tokens))


def _count_by(wrong: Sequence[ExampleRow], examined: Sequence[ExampleRow], key: str) -> dict[str, dict[str, int]]:
    wrong_rows, examined_rows = (Counter(row[key] for row in rows) for rows in (wrong, examined))
    return {value: {"rows": wrong_rows[value], "of": examined_rows[value]} for value in sorted(examined_rows)}


def _count_by_rating(wrong: Sequence[ExampleRow], examined: Sequence[ExampleRow]) -> dict[str, dict[str, int]]:
    """Return the counts by the number that a label was mapped from; nothing without ratings, or with too many."""
    wrong, examined = ([row for row in rows if row["rating"] is not None] for rows in (wrong, examined))
    counts = _count_by(wrong, examined, "rating")
    return {f"{rating:g}": count for rating, count in counts.items()} if len(counts) <= MAX_RATINGS else {}
