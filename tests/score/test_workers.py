"""Workers get the processors that their engine needs, and a bundle that they cannot load is an error of one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.errors import ConfigError, SelfTestError
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.workers import count_possible_workers


@pytest.fixture
def settings(corpus: Path, tmp_path: Path, ray_cluster: None) -> dict[str, Any]:
    return {"input": str(corpus), "output": str(tmp_path / "out"), "text_column": "body"}


@pytest.mark.parametrize("plan", [False, True])
def test_a_bundle_with_other_scores_on_this_processor_is_an_error(
    settings: dict[str, Any], bundle: Path, tmp_path: Path, plan: bool
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    test = manifest["self_test"]
    test["probabilities"] = [[1.0, 0.0, 0.0] if row[2] > 0.5 else [0.0, 0.0, 1.0] for row in test["probabilities"]]
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(
        SelfTestError, match="on this processor probabilities are up to .* Name another engine"
    ) as error:
        score_reviews(ScoreConfig(bundle=str(copy), plan=plan, **settings))
    assert "\n" not in str(error.value)


def test_a_gpu_engine_needs_one_gpu_for_each_worker(settings: dict[str, Any], bundle: Path) -> None:
    with pytest.raises(ConfigError, match="2 CPUs and, for engine = 'cuda', 0 GPUs on 1 node"):
        score_reviews(ScoreConfig(bundle=str(bundle), engine="cuda", **settings))
    config = ScoreConfig(bundle="b", **settings)
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}, {"CPU": 16.0}]
    assert count_possible_workers(config, "cuda", nodes) == 3
    assert count_possible_workers(config, "onnxruntime", nodes) == 25
