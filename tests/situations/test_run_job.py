"""The helper that runs a job in this process gives what a process of its own would."""

from pathlib import Path

import pytest

from tests.situations.run_job import CLI, run_job


def test_a_wrong_input_is_an_error_line_and_exit_code_2(tmp_path: Path) -> None:
    actual = run_job("prepare_reviews", "--input", str(tmp_path / "gone.csv"), "--output", str(tmp_path / "out"))
    assert (actual.exit_code, actual.stdout, actual.result) == (2, "", {})
    assert actual.error_lines == actual.stderr.splitlines()
    assert "gone.csv does not exist" in actual.error_lines[0]


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    for command in ("train_encoder", CLI):
        actual = run_job(command, "--no-such-flag")
        assert actual.exit_code == 2
        assert len(actual.error_lines) == 1


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sentiment_ray.data.prepare.list_sources", lambda config: 1 / 0)
    actual = run_job("prepare_reviews", "--input", "a.csv", "--output", str(tmp_path / "out"))
    assert actual.exit_code == 1
    assert "ZeroDivisionError" in actual.stderr
