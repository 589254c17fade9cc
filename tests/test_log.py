"""With -v a run writes JSON lines on stderr, its workers' lines among them; without it only lines for people."""

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from sentiment_ray import log
from sentiment_ray.cli import commands

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/bundle"
COMMAND = str(Path(sys.executable).parent / "sentiment-ray")
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if "__main__" in path.read_text())


def _run(*command: str, **environment: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines on stderr."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stderr.splitlines()


def list_commands(group: click.Group) -> list[click.Command]:
    """Return all commands of a group, those of the groups in it too."""
    found = []
    for command in group.commands.values():
        found += list_commands(command) if isinstance(command, click.Group) else [command]
    return found


@pytest.fixture
def record() -> logging.LogRecord:
    record = logging.LogRecord("sentiment_ray.score.scorer", logging.WARNING, __file__, 1, "%d rows", (3,), None)
    record.unit = "year=2024/a.parquet"
    return record


def test_a_line_says_when_how_severe_where_and_about_which_unit(record: logging.LogRecord) -> None:
    line = json.loads(log.JsonFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line.pop("process").endswith(f":{os.getpid()}")
    assert line == {
        "level": "warning",
        "message": "3 rows",
        "module": "sentiment_ray.score.scorer",
        "unit": "year=2024/a.parquet",
    }


def test_a_line_break_in_a_message_does_not_make_a_second_line(record: logging.LogRecord) -> None:
    record.msg, record.args = "one\nerror: two", ()
    assert "\n" not in log.JsonFormatter().format(record)


def test_every_command_has_the_flag() -> None:
    for command in list_commands(commands):
        assert any("--verbose" in parameter.opts for parameter in command.params), command.name


@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_the_flag(job: str) -> None:
    command = importlib.import_module(f"jobs.{job}").main
    assert any("--verbose" in parameter.opts for parameter in command.params)


def test_an_error_is_a_line_of_the_log_with_v_and_a_line_for_people_without() -> None:
    command = [sys.executable, "-m", "jobs.train_encoder", "--config", "/nowhere.toml"]
    code, lines = _run(*command, "-v")
    rows = [json.loads(line) for line in lines]
    assert code == 2
    assert (rows[-1]["level"], rows[-1]["stage"]) == ("error", "train")
    assert "/nowhere.toml: there is no such file" in rows[-1]["message"]
    assert len({row["run"] for row in rows}) == 1
    code, (line,) = _run(*command)
    assert code == 2
    assert line.startswith("error: --config /nowhere.toml: there is no such file")


def test_the_command_logs_nothing_of_the_texts_and_without_v_nothing_at_all() -> None:
    arguments = ("predict", str(GOLDEN), "--engine", "onnxruntime", "a secret wish")
    assert _run(COMMAND, *arguments) == (0, [])
    code, lines = _run(COMMAND, "predict", "-v", *arguments[1:])
    assert code == 0
    assert not any("secret" in line for line in lines)
    assert all(json.loads(line)["stage"] == "predict" for line in lines)


@pytest.fixture(scope="module")
def verbose_lines(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a scoring run with -v and a cluster of its own writes on stderr; every line of it is JSON."""
    output = tmp_path_factory.mktemp("verbose") / "scores"
    command = [sys.executable, "-m", "jobs.score_reviews", "-v", "--bundle", str(GOLDEN), "--input", str(corpus)]
    options = ["--output", str(output), "--text-column", "body", "--num-workers", "1"]
    code, lines = _run(*command, *options, RAY_ADDRESS="local")
    assert code == 0, lines
    return [json.loads(line) for line in lines]


def test_the_log_of_a_run_names_its_units_and_carries_one_run_id(verbose_lines: list[dict[str, Any]]) -> None:
    assert len({line["run"] for line in verbose_lines}) == 1
    assert {line["stage"] for line in verbose_lines} == {"score"}
    finished = [line for line in verbose_lines if line["message"] == "unit finished"]
    assert {line["unit"] for line in finished} == {"year=2024/reviews.parquet", "year=2025/reviews.parquet"}
    assert sum(line["rows"] + line["rows_quarantined"] for line in finished) > 0
    driver = next(line for line in verbose_lines if line["message"] == "started")
    assert all(line["process"] != driver["process"] for line in finished), "units are logged by the workers"


def test_the_log_of_a_run_holds_no_text(verbose_lines: list[dict[str, Any]], everyday: list[tuple[str, str]]) -> None:
    written = json.dumps(verbose_lines, ensure_ascii=False)
    assert not [text for text, _ in everyday if len(text) > 12 and text in written]
