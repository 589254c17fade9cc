"""steps.jsonl has one line for each step, not too many, and none of a step that is taken again."""

import json
from pathlib import Path

from sentiment_ray.train.step_log import MOST_LINES, StepResult, append_steps, remove_steps_after


def _results(first: int, last: int, total: int) -> list[StepResult]:
    return [StepResult(step, total, loss=1 / step, accuracy=None) for step in range(first, last + 1)]


def _read(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_line_has_the_step_its_loss_and_its_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    append_steps(path, [StepResult(1, 2, 0.5, 0.25), StepResult(2, 2, float("nan"), None)])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {"step": 1, "total_steps": 2, "loss": 0.5, "accuracy": 0.25}
    assert second == {"step": 2, "total_steps": 2, "loss": None, "accuracy": None}


def test_a_training_that_resumes_goes_on_after_the_last_step_that_it_keeps(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    remove_steps_after(path, 0)
    append_steps(path, _results(1, 9, 20))
    with path.open("a") as file:
        file.write('{"step": 10, "tot')
    remove_steps_after(path, 6)
    append_steps(path, _results(7, 12, 20))
    assert _read(path) == list(range(1, 13))


def test_a_long_training_has_no_more_lines_than_are_allowed(tmp_path: Path) -> None:
    for total in (MOST_LINES, 3 * MOST_LINES):
        path = tmp_path / f"{total}.jsonl"
        append_steps(path, _results(1, total, total))
        steps = _read(path)
        assert MOST_LINES / 4 <= len(steps) <= MOST_LINES
        assert {b - a for a, b in zip(steps, steps[1:], strict=False)} <= {1, 2, 4}
