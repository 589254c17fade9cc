"""Tasks that fail or whose process dies. The functions are local, so that Ray sends them to the workers by value."""

import os
import time
from pathlib import Path

import pytest
import ray

from sentiment_ray.data.ray_tasks import run_tasks
from sentiment_ray.errors import DataError

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_no_task_goes_on_after_a_failure(tmp_path: Path) -> None:
    written = tmp_path / "written"

    def fail_beside_a_writer(is_writer: bool) -> None:
        for _ in range(60 if is_writer else 1200):
            time.sleep(0.05)
            if is_writer:
                with written.open("a") as file:
                    file.write("x")
            elif written.exists():
                raise DataError("one is damaged")

    with pytest.raises(DataError, match="^one is damaged$"):
        run_tasks(fail_beside_a_writer, [(True,), (False,), (True,)], title="Failing")
    time.sleep(0.5)  # a process that was told to die may write once more
    size = written.stat().st_size
    time.sleep(0.5)
    assert written.stat().st_size == size


def test_a_bug_keeps_its_traceback() -> None:
    def divide(by: int) -> float:
        return 1 / by

    with pytest.raises(ray.exceptions.RayTaskError, match="ZeroDivisionError: division by zero"):
        run_tasks(divide, [(1,), (0,)], title="Dividing")


def test_a_task_whose_process_dies_is_run_again(tmp_path: Path) -> None:
    def die_once(number: int) -> int:
        if number == 1 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        return number

    assert sorted(run_tasks(die_once, [(0,), (1,), (2,)], title="Dying")) == [0, 1, 2]
