"""Continual training measures both models on old and new reviews."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import read_json
from sentiment_ray.text.truncation import HEAD
from sentiment_ray.train.baseline import checkpoint_metrics
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.trainer import train_encoder
from tests.conftest import LABELS


def _config(run: Path, output: Path, **changes: Any) -> TrainConfig:
    keys = read_json(run / "run.json")["config"] | {"output": str(output), "num_workers": 1, "epochs": 1}
    return TrainConfig(**keys | changes)


@pytest.fixture(scope="module")
def new_reviews(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sentences in capitals and inside tags, which the cleaning step strip_tags removes."""
    copy = tmp_path_factory.mktemp("new") / "prepared"
    shutil.copytree(prepared, copy)
    for path in copy.glob("*/*.parquet"):
        table = parquet.read_table(path)
        shouted = pa.array([f"<b title='bad good fine'>{text.upper()}!!</b>" for text in table["text"].to_pylist()])
        parquet.write_table(table.set_column(table.column_names.index("text"), "text", shouted), path)
    manifest = read_json(copy / "prepared.json")
    (copy / "prepared.json").write_text(json.dumps(manifest | {"steps": ["strip_tags"]}))
    return copy


def test_a_training_continues_with_the_model_and_a_share_of_the_rows_of_a_run(
    run: Path,
    prepared: Path,
    new_reviews: Path,
    tmp_path: Path,
    ray_cluster: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"model": "", "start_from": str(run), "replay": 0.5, "prepared": str(new_reviews), "learning_rate": 1e-12}
    train_encoder(_config(run, tmp_path / "run", **changes))
    lines, manifest = capsys.readouterr().err.splitlines(), read_json(tmp_path / "run/run.json")
    assert sum(line.startswith("The best checkpoint, of epoch 1, has macro-F1") for line in lines) == 1
    assert sum(line.startswith("On the new reviews macro-F1 went from") for line in lines) == 1
    assert "learning_rate = 1e-12 (earlier 0.003)" in "".join(lines)
    truncated = sum(line.startswith("Longer than max_tokens = 32: ") for line in lines)
    assert truncated == 2 * any(counts["truncated_rows"] for counts in manifest["truncated"].values())
    rows = parquet.read_table(prepared / "train").num_rows
    assert manifest["history"][0]["train_rows"] == rows + round(rows / 2)
    earlier, before = manifest["earlier"], read_json(run / "run.json")
    checkpoint = run / before["best"]["checkpoint"]
    assert earlier["run"] == before["fingerprint"]
    assert (before["steps"], manifest["steps"]) == ([], ["strip_tags"])
    # At this learning rate nothing is learned, so the two models differ only in how they clean texts.
    for name, reviews in (("new", new_reviews), ("old", prepared)):
        for when, steps in (("before", ()), ("after", ("strip_tags",))):
            expected = checkpoint_metrics(
                checkpoint, reviews / "test", LABELS, max_tokens=32, truncation=HEAD, cleaning_steps=steps
            )
            assert earlier[name][when] == expected


def test_reviews_that_were_prepared_again_are_refused_as_the_old_reviews_of_a_run(
    run: Path, new_reviews: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "old"
    shutil.copytree(run, copy)
    manifest = read_json(copy / "run.json")
    (copy / "run.json").write_text(
        json.dumps(manifest | {"config": manifest["config"] | {"prepared": str(new_reviews)}})
    )
    changes = {"model": "", "start_from": str(copy), "replay": 0.5, "prepared": str(new_reviews)}
    with pytest.raises(ConfigError, match="the reviews that it was trained on, .*, were changed or removed"):
        train_encoder(_config(run, tmp_path / "run", **changes))


def test_a_run_cannot_replay_the_reviews_that_it_trains_on(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start_from was trained on the same reviews"):
        train_encoder(_config(run, tmp_path / "run", model="", start_from=str(run), replay=0.5))


def test_a_training_cannot_start_from_other_labels_or_from_a_bundle(
    run: Path, bundle: Path, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is a bundle, whose ONNX files cannot be trained on"):
        train_encoder(_config(run, tmp_path / "run", model="", start_from=str(bundle)))
    manifest = read_json(prepared / "prepared.json")
    manifest["labels"] = ["negative", "awful", "positive"]
    (tmp_path / "prepared.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="has the labels negative, neutral, positive, but .* also has awful"):
        train_encoder(_config(run, tmp_path / "run", model="", start_from=str(run), prepared=str(tmp_path)))


def test_a_training_cannot_start_from_a_run_and_a_model(run: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model = .* and start_from = .* each name what the training starts from"):
        train_encoder(_config(run, tmp_path / "run", model=str(tiny_encoder), start_from=str(run)))
