"""Progress counts every row once, also when a unit is scored twice."""

import json
import time

import pytest
import ray

from sentiment_ray.score.progress import show_progress


def test_json_lines_count_the_finished_and_planned_rows(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("json", 100, 10, 1) as counter:
        ray.get(counter.report.remote("a.parquet", 30, 0))
        ray.get(counter.report.remote("b.parquet", 20, 4))
        ray.get(counter.report.remote("a.parquet", 5, 0))
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["rows_planned"], line["rows_done"], line["rows_quarantined"]) == (100, 40, 5)
    assert line["rows_per_s"] > 0
    assert line["expected_end"] >= time.time() - 1


def test_progress_none_writes_nothing(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("none", 100, 0, 0) as counter:
        ray.get(counter.report.remote("a.parquet", 30, 0))
    assert capsys.readouterr().err == ""
