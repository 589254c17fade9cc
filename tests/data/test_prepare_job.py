"""The command jobs.prepare_reviews: its output, its exit codes and what it imports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.fixture
def reviews(tmp_path: Path) -> str:
    lines = [f"Review number {number},{('bad', 'good')[number % 2]}\n" for number in range(120)]
    (tmp_path / "reviews.csv").write_text("body,mood\n" + "".join(lines))
    return str(tmp_path / "reviews.csv")


def test_a_wrong_input_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path, reviews: str) -> None:
    actual = python("-m", "jobs.prepare_reviews", "--input", reviews, "--output", str(tmp_path / "out"))
    assert (actual.returncode, actual.stdout) == (2, "")
    assert actual.stderr == (
        f"error: {reviews}: the column 'text' is missing (found: 'body', 'mood'). Pass --text-column, or set "
        "text_column for the source 'reviews'.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_flags_and_keys_are_equal_and_a_finished_result_needs_no_ray(tmp_path: Path, reviews: str) -> None:
    source = {"path": reviews, "text_column": "body", "label_column": "mood"}
    output = str(tmp_path / "out")
    made = prepare_reviews(PrepareConfig(output=output, labels=("bad", "good"), sources=(source,)))
    flags = ["--input", reviews, "--text-column", "body", "--label-column", "mood", "--labels", "bad,good"]
    actual = python("-m", "jobs.prepare_reviews", *flags, "--output", output)
    assert (actual.returncode, actual.stderr) == (0, "")
    assert json.loads(actual.stdout) == made | {"skipped": True}


def test_help_shows_the_flags_and_loads_no_heavy_library() -> None:
    code = "import sys, jobs.prepare_reviews; print({'ray', 'pyarrow', 'pandas', 'torch'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"
    assert "--label-column" in python("-m", "jobs.prepare_reviews", "--help").stdout


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "no source is given. Pass --input"),
        ({"text_column": "body"}, "--text-column describes --input, which is missing"),
        ({"sources": [{"path": "a.csv", "label_map": {1: "good"}}]}, "maps '1' to 'good', which is not in labels"),
        ({"input": "a.csv", "test_share": 0.6, "validation_share": 0.4}, "leave nothing to train on"),
    ],
)
def test_a_contradictory_configuration_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareConfig.model_validate({"output": "out", **keys})
