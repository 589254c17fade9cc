"""What a fine-tuning job leaves on the disk before it runs: its examples as Parquet, and the pipeline's keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import tomli_w
from pyarrow import parquet

from sentiment_ray.atomic_files import place_file, write_file
from sentiment_ray.bundle.manifest import MAX_METADATA_CHARACTERS, MAX_METADATA_TEXTS
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.hyperparameters import make_train_keys
from sentiment_ray.openai_api.tables import Job
from sentiment_ray.openai_api.training_file import TrainingExamples

TOML_NAME = "job.toml"
CHECKPOINT_EVERY_S = 20
"""A job that is paused or killed repeats at most this much."""
HELD_OUT_FROM, HELD_OUT_SHARE = 1000, 0.1
"""From so many examples on, this share is held out to choose the best checkpoint and to calibrate the probabilities."""


@dataclass(frozen=True)
class Base:
    """What a job starts from: an encoder, or a run that was trained before."""

    location: str
    is_run: bool


def write_job_files(
    directory: Path,
    job: Job,
    base: Base,
    training: TrainingExamples,
    validation: TrainingExamples | None,
    config: OpenAiApiConfig,
    train_keys: Mapping[str, Any],
) -> None:
    """Write the files from which the pipeline runs; its configuration is the last one."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = [_write_source(directory, "training", training, "train" if validation else "auto")]
    if validation:
        sources.append(_write_source(directory, "validation", validation, "validation"))
    num_examples = len(training.texts)
    held_out = HELD_OUT_SHARE if validation is None and num_examples >= HELD_OUT_FROM else 0.0
    document = {
        "prepare": {
            "output": str(directory / "prepared"),
            "labels": sorted(set(training.labels)),
            "keep_duplicates": True,
            "validation_share": held_out,
            "test_share": 0.0,
            "split_by": "hash",
            "sources": sources,
        },
        "train": {
            "prepared": str(directory / "prepared"),
            "output": str(directory / "run"),
            "start_from" if base.is_run else "model": base.location,
            "seed": job.seed,
            "precision": "auto" if config.use_gpu else "fp32",
            "use_gpu": config.use_gpu,
            "checkpoint_every_s": CHECKPOINT_EVERY_S,
            **train_keys,
            **_name_max_tokens(config, base),
            **make_train_keys(
                job.hyperparameters,
                num_examples=num_examples,
                max_tokens=config.max_tokens,
                has_new_head=not base.is_run,
            ),
        },
        "export": {
            "run": str(directory / "run"),
            "output": str(directory / "bundle"),
            "variants": ["fp32", "optimized", *(["fp16"] if config.use_gpu else [])],
            **_name_metadata(training),
        },
    }
    write_file(directory / TOML_NAME, tomli_w.dumps(document).encode())


def read_num_examples(directory: Path) -> int:
    """Return the number of training examples of a job."""
    return int(parquet.read_metadata(directory / "training.parquet").num_rows)


def _name_max_tokens(config: OpenAiApiConfig, base: Base) -> dict[str, Any]:
    """Return the key max_tokens; a run that is trained further keeps its own."""
    return {} if base.is_run else {"max_tokens": config.max_tokens}


def _name_metadata(training: TrainingExamples) -> dict[str, Any]:
    """Return the key that keeps the system messages of the training file in the bundle, where it has room for them."""
    messages = sorted(training.system_messages)
    has_room = len(messages) <= MAX_METADATA_TEXTS and sum(map(len, messages)) <= MAX_METADATA_CHARACTERS
    return {"metadata": {"system_messages": messages}} if has_room else {}


def _write_source(directory: Path, name: str, examples: TrainingExamples, split: str) -> dict[str, Any]:
    """Write examples as Parquet and return the source of [prepare] that reads them."""
    path = directory / f"{name}.parquet"
    temporary = path.with_name(f".{path.name}.new")
    parquet.write_table(_make_table(examples.texts, examples.labels), temporary)
    place_file(temporary, path)
    return {"path": str(path), "name": name, "format": "parquet", "id_column": "id", "split": split}


def _make_table(texts: Sequence[str], labels: Sequence[str]) -> pa.Table:
    """Return examples as a table; an id is the number of the example in its file, from 1."""
    ids = [str(number) for number in range(1, len(texts) + 1)]
    return pa.table({"id": ids, "text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string())})
