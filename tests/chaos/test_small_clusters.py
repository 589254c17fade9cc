"""A run ends on clusters of one, two, four and eight CPUs; workers that cannot fit are refused at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_ray.cluster_address import find_cluster
from tests.chaos.conftest import start_cluster
from tests.conftest import ROOT


@pytest.mark.parametrize("num_cpus", [1, *(pytest.param(cpus, marks=pytest.mark.slow) for cpus in (2, 4, 8))])
def test_a_run_ends_on_a_small_cluster(num_cpus: int, bundle: Path, corpus: Path, tmp_path: Path) -> None:
    config = {
        "bundle": str(bundle), "input": str(corpus), "output": str(tmp_path / "scores"), "text_column": "body",
        "unit_rows": 50, "engine": "onnxruntime", "variant": "fp32",
    }  # fmt: skip
    cluster = start_cluster(num_cpus)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "tests.chaos.driver", json.dumps([cluster.address, config])],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    finally:
        cluster.stop()
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["rows_quarantined"] == 3


def test_no_other_job_joins_a_cluster_of_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of another test that joined it would lose its node, and print what Ray says about that."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = start_cluster()
    try:
        assert find_cluster() is None
    finally:
        cluster.stop()


def test_workers_that_cannot_fit_are_refused_and_not_waited_for(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json; from sentiment_ray.score.config import ScoreConfig\n"
        "from sentiment_ray.score.score import score_reviews\n"
        "score_reviews(ScoreConfig(**json.loads(sys.argv[1])))"
    )
    config = {
        "bundle": str(bundle), "input": str(corpus), "output": str(tmp_path / "scores"), "text_column": "body",
        "cpus_per_worker": 10_000, "engine": "onnxruntime", "variant": "fp32",
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config)], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert "does not fit" in run.stderr
    assert not list((tmp_path / "scores").rglob("*.json"))
