"""Steps whose loss is not finite are skipped and counted, and a training that diverges ends by name."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import Distill
from sentiment_ray.train.divergence import MAX_SKIPPED_IN_A_ROW, SkippedSteps
from tests.conftest import LABELS
from tests.train.training import CheckpointStore, Train, have_equal_weights, load_weights


def test_a_step_whose_loss_is_not_finite_is_skipped_and_counted(train: Train, store: CheckpointStore) -> None:
    history = train(broken_row=3, distill=Distill(scores="s"), checkpoint_every_s=1e-6)
    assert [line["skipped_steps"] for line in history] == [1, 1]
    assert all(0 < line["loss"] < 2 and np.isfinite(line["validation_loss"]) for line in history)
    checkpoints = store.checkpoints()
    assert all(value.isfinite().all() for checkpoint in checkpoints for value in load_weights(checkpoint).values())
    within = [each for each in checkpoints if each.progress.skipped_steps and each.progress.epoch == 1]
    assert train(within[0], broken_row=3, distill=Distill(scores="s"), checkpoint_every_s=1e6) == history
    assert have_equal_weights(store.checkpoints()[-1], checkpoints[-1])


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}, {"learning_rate": 1e6, "tokens_per_batch": 32}])
def test_a_training_that_diverges_ends_and_leaves_no_such_checkpoint(
    train: Train, store: CheckpointStore, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"diverged in epoch \d.*: set learning_rate below 1e\+"):
        train(**changes, epochs=20, checkpoint_every_s=1e-6)
    assert all(value.isfinite().all() for each in store.checkpoints() for value in load_weights(each).values())


def test_a_training_in_which_every_step_of_an_epoch_is_skipped_ends(train: Train, store: CheckpointStore) -> None:
    with pytest.raises(ConfigError, match=r"diverged in epoch 1, step 1: .* 1 steps of the epoch were skipped"):
        train(weights=[float("inf")] * len(LABELS), tokens_per_batch=100_000)
    assert not store.paths


def test_many_skipped_steps_in_a_row_end_a_training(train: Train) -> None:
    with pytest.raises(ConfigError, match=rf"step {MAX_SKIPPED_IN_A_ROW}: .* {MAX_SKIPPED_IN_A_ROW} steps of the"):
        train(weights=[float("nan")] * len(LABELS), tokens_per_batch=32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_model_whose_weights_are_not_finite_is_refused_by_the_name_of_the_weight(
    train: Train, tiny_encoder: Path, tmp_path: Path, value: float
) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][3, 4] = value
    save_file(weights, tmp_path / "model/model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"its weight bert\.encoder\.layer\.1\.output\.dense\.weight holds NaN"):
        train(model=str(tmp_path / "model"))


def test_skipped_steps_are_counted_when_they_are_read() -> None:
    skipped, taken = SkippedSteps(2, 7), torch.tensor(True)
    for is_finite in (taken, ~taken, ~taken, taken, ~taken):
        skipped.note(is_finite, 10)
    assert (skipped.steps, skipped.rows) == (2, 7)
    assert not skipped.count()
    assert (skipped.steps, skipped.rows, skipped.in_a_row) == (5, 37, 1)
    for is_finite in (*[~taken] * MAX_SKIPPED_IN_A_ROW, taken):  # a GPU may have gone on before they are read
        skipped.note(is_finite, 1)
    assert skipped.count()
