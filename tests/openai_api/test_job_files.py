"""The pipeline's configuration of a job keeps the system messages of its training file, where a bundle has room."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.job_files import Base, write_job_files
from sentiment_ray.openai_api.tables import Job
from sentiment_ray.openai_api.training_file import TrainingExamples


@pytest.mark.parametrize(
    ("messages", "metadata"),
    [
        (["One word.", "A word."], {"system_messages": ["A word.", "One word."]}),
        ([], {"system_messages": []}),
        ([f"{number} {'x' * 1000}" for number in range(2000)], None),
        ([str(number) for number in range(10_001)], None),
    ],
)
def test_system_messages_of_a_job(messages: list[str], metadata: dict[str, Any] | None, tmp_path: Path) -> None:
    examples = TrainingExamples(texts=["a", "b"], labels=["Good", "Bad"], system_messages=Counter(messages))
    auto = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    job = Job(id="ftjob-1", seed=1, hyperparameters=auto)
    config = OpenAiApiConfig(state=str(tmp_path))
    write_job_files(tmp_path, job, Base("encoder", is_run=False), examples, None, config, {})
    assert tomllib.loads((tmp_path / "job.toml").read_text())["export"].get("metadata") == metadata
