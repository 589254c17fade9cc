"""The pipeline runs all stages of one file, as `make demo` does, on few reviews with two Ray Train workers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = """
[prepare]
output = "{work}/prepared"

[[prepare.sources]]
path = "jobs/configs/everyday.jsonl"
format = "chat"

[train]
prepared = "{work}/prepared"
output = "{work}/run"
model = "{model}"
epochs = 1
learning_rate = 1e-3
tokens_per_batch = 512
max_tokens = 32
num_workers = 2
cpus_per_worker = 0.75

[export]
run = "{work}/run"
output = "{work}/bundle"

[evaluate]
bundle = "{work}/bundle"
input = "{work}/prepared/test"
output = "{work}/evaluation"
engine = "onnxruntime"
variant = "fp32"

[score]
bundle = "{work}/bundle"
input = "{work}/prepared/test"
output = "{work}/scores"
engine = "onnxruntime"
variant = "fp32"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    work = tmp_path_factory.mktemp("pipeline")
    path = work / "pipeline.toml"
    path.write_text(CONFIG.format(work=work, model=tiny_encoder))
    return path


def _run(config: Path) -> tuple[dict[str, dict[str, object]], str]:
    command = [sys.executable, "-m", "jobs.pipeline", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "stdout must hold nothing but the result"
    return json.loads(done.stdout)["stages"], done.stderr


def test_the_pipeline_runs_every_stage_once_and_then_skips_all(config: Path) -> None:
    first, screen = _run(config)
    assert [result["skipped"] for result in first.values()] == [False] * 5
    assert list(first) == ["prepare", "train", "export", "evaluate", "score"]
    assert first["score"]["rows_in"] == first["score"]["rows_scored"] == first["prepare"]["counts"]["test"]  # type: ignore[index]
    for line in ("always ", "base model (nearest label by embedding)", "fine-tuned, from the bundle", "<- auto"):
        assert line in screen
    assert "This is a cherry pie." in screen
    assert "WARNING" not in screen
    assert "(raylet)" not in screen

    again, _ = _run(config)
    assert [result["skipped"] for result in again.values()] == [True] * 5


def test_a_change_repeats_only_the_stages_that_depend_on_it(config: Path) -> None:
    config.write_text(config.read_text().replace("[export]", "[export]\ngate_rows = 7"))
    stages, _ = _run(config)
    # The same checkpoint gives the same bundle_id, so the outputs that were made with that bundle stay valid.
    assert {section: result["skipped"] for section, result in stages.items()} == {
        "prepare": True,
        "train": True,
        "export": False,
        "evaluate": True,
        "score": True,
    }
