"""Outputs that cannot be written, in every job: one line, exit code 2, before any work, and nothing is removed."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.situations.run_job import Outcome, run_job

LONG_NAME = "n" * 300


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file with a hundred reviews."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    rows = (f"review {number} of things,{('negative', 'neutral', 'positive')[number % 3]}\n" for number in range(100))
    path.write_text("text,label\n" + "".join(rows))
    return path


Command = Callable[[str], Outcome]


@pytest.fixture
def commands(
    reviews: Path, prepared: Path, tiny_encoder: Path, run: Path, bundle: Path, tmp_path: Path
) -> dict[str, Command]:
    """Every job that writes a directory, as a function of its output."""
    model = ("--prepared", str(prepared), "--model", str(tiny_encoder), "--max-tokens", "32")
    test_split = str(prepared / "test")
    search = tmp_path / "search.toml"
    search.write_text(
        f'[train]\nprepared = {str(prepared)!r}\nmodel = {str(tiny_encoder)!r}\nmax_tokens = 32\noutput = "unused"\n'
        '[tune]\noutput = "unused"\n[tune.search]\nlearning_rate = { low = 1e-4, high = 1e-3 }\n'
    )

    def run_pipeline(output: str) -> Outcome:
        config = tmp_path / "pipeline.toml"
        config.write_text(f'[prepare]\ninput = {str(reviews)!r}\noutput = "{output}"\n')
        return run_job("pipeline", "--config", str(config))

    def make(job: str, *args: str, flag: str = "--output") -> Command:
        return lambda output: run_job(job, *args, flag, output)

    unused = str(tmp_path / "unused")
    return {
        "fetch_samples": make("fetch_samples", "--archives", str(tmp_path)),
        "prepare_reviews": make("prepare_reviews", "--input", str(reviews)),
        "prepare_reviews --check": make("prepare_reviews", "--check", "--input", str(reviews)),
        "prepare_reviews --to-chat": make(
            "prepare_reviews", "--input", str(reviews), "--output", unused, flag="--to-chat"
        ),
        "train_encoder": make("train_encoder", *model),
        "tune_encoder": make("tune_encoder", "--config", str(search)),
        "export_bundle": make("export_bundle", "--run", str(run)),
        "evaluate_bundle": make("evaluate_bundle", "--bundle", str(bundle), "--input", test_split),
        "score_reviews": make("score_reviews", "--bundle", str(bundle), "--input", test_split),
        "pipeline": run_pipeline,
    }


def assert_refused(outcome: Outcome, words: str, situation: str) -> None:
    assert "Traceback" not in outcome.stderr, f"{situation}: {outcome.stderr}"
    assert (outcome.exit_code, outcome.stdout) == (2, ""), f"{situation}: {outcome}"
    assert len(outcome.error_lines) == 1, f"{situation}: {outcome.stderr}"
    assert re.search(words, outcome.error_lines[0]), f"{situation}: {outcome.stderr}"


@pytest.fixture
def wrong_outputs(tmp_path: Path) -> dict[str, str]:
    """Outputs, and the words with which each job refuses them."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "link to file").symlink_to(tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    return {
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "link to file"): "is a file",
        str(tmp_path / "file/below"): "file is a file",
        str(tmp_path / "file/far/below"): "file is a file",
        "/proc/self/output": "cannot be written: nothing can be made there",
        "/dev/null/output": "/dev/null is a file",
        str(tmp_path / LONG_NAME): "a name in it is too long",
        str(tmp_path / "circle"): "links lead in a circle",
        str(tmp_path / "circle/below"): "links lead in a circle",
        str(tmp_path / "mine"): "holds",
        "": "is empty",
        "file://elsewhere/output": "names the host 'elsewhere'",
        "caf\udce9": "is not UTF-8",
    }


def test_every_job_refuses_an_output_that_cannot_be(
    commands: dict[str, Command], wrong_outputs: dict[str, str], tmp_path: Path
) -> None:
    for job, command in commands.items():
        for output, words in wrong_outputs.items():
            if job == "fetch_samples" and words == "holds":
                continue  # it adds its files to those of a directory
            if job == "pipeline" and not output.isascii():
                continue  # TOML is UTF-8
            assert_refused(command(output), words, f"{job} {output}")
    assert (tmp_path / "file").read_text() == (tmp_path / "mine/thesis.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_job_refuses_a_file_system_on_which_nothing_can_be_written(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, words in {
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "no space is left",
        errno.EDQUOT: "quota",
        errno.EACCES: "no permission",
    }.items():
        error = OSError(number, os.strerror(number))
        monkeypatch.setattr("sentiment_ray.paths._try_to_write", Mock(side_effect=error))
        for job in ("prepare_reviews", "train_encoder", "export_bundle", "evaluate_bundle", "score_reviews"):
            assert_refused(commands[job](str(tmp_path / "new")), f"cannot be written: .*{words}", f"{job} {words}")
    assert not (tmp_path / "new").exists()


def test_a_stage_that_replaces_its_output_refuses_the_current_directory(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/deeper").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for job in ("prepare_reviews", "prepare_reviews --check", "export_bundle", "evaluate_bundle"):
        for output in (".", str(tmp_path / "empty") + "/"):
            assert_refused(commands[job](output), "is the current directory", f"{job} {output}")
        assert_refused(commands[job]("/"), "holds|mount point|lies inside", f"{job} /")


def test_a_current_directory_that_was_removed_is_named(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for job in ("prepare_reviews", "export_bundle", "score_reviews"):
        assert_refused(commands[job]("output"), "the current directory has been removed", job)
