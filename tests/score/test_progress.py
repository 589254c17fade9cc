"""What is told while a run is under way adds up, also when a unit is done twice."""

import json
import time

import pytest
import ray

from sentiment_ray.score.progress import shown_progress


def test_json_lines_tell_rows_done_of_rows_planned(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("json", 100, 10, 1) as counter:
        ray.get(counter.report.remote("a.parquet", 30, 0))
        ray.get(counter.report.remote("b.parquet", 20, 4))
        ray.get(counter.report.remote("a.parquet", 5, 0))
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["rows_planned"], line["rows_done"], line["rows_quarantined"]) == (100, 40, 5)
    assert line["rows_per_s"] > 0
    assert line["expected_end"] >= time.time() - 1


def test_nothing_is_told_when_nothing_is_asked(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("none", 100, 0, 0) as counter:
        ray.get(counter.report.remote("a.parquet", 30, 0))
    assert capsys.readouterr().err == ""
