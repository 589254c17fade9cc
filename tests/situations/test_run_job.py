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


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("-input", "a.csv"), "No such option '-i'. Flags begin with two hyphens."),
        (("\u2013input", "a.csv"), "(\u2013input a.csv). Flags begin with two hyphens."),
        (("--input", "a.csv", "b.csv", "c.csv"), "(b.csv c.csv). Flags begin with two hyphens. Several values stand"),
        (("--labels", "good", "bad"), "(bad). Flags begin with two hyphens. Several values stand between commas"),
        (("--input", "a.csv", "--labels", "good,Good"), "two labels differ in case alone, which does not matter"),
        (("--input", "a.csv", "--columns", "a,,b"), "a name between the commas is empty"),
    ],
)
def test_a_slip_in_the_flags_is_one_line_with_what_is_meant(words: tuple[str, ...], remedy: str) -> None:
    actual = run_job("prepare_reviews", "--output", "out", *words)
    assert (actual.exit_code, actual.stdout, len(actual.stderr.splitlines())) == (2, "", 1)
    assert remedy in actual.error_lines[0]


def test_a_configuration_that_says_two_things_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[prepare]\ninput = "gone.csv"\noutput = "out"\n[[prepare.sources]]\npath = "b.csv"\n')
    actual = run_job("prepare_reviews", "--config", str(path))
    assert actual.warning_lines == ["warning: input = 'gone.csv' is read instead of the 1 [[prepare.sources]]."]
    assert "gone.csv does not exist" in actual.error_lines[0]
    path.write_text(f"[prepare]\nx = {'[' * 5000}")
    actual = run_job("prepare_reviews", "--config", str(path))
    assert (actual.exit_code, len(actual.stderr.splitlines())) == (2, 1)
    assert "its values are nested too deeply" in actual.error_lines[0]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sentiment_ray.data.prepare.list_sources", lambda config: 1 / 0)
    actual = run_job("prepare_reviews", "--input", "a.csv", "--output", str(tmp_path / "out"))
    assert actual.exit_code == 1
    assert "ZeroDivisionError" in actual.stderr
