"""What cannot be trained is named before anything starts: places on nodes, places in the model, lost runs."""

import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer

from sentiment_ray.bundle.model_config import find_longest_input
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import read_json
from sentiment_ray.text.truncation import HEAD
from sentiment_ray.train.checkpoint import Checkpoint, Progress, rank_checkpoints
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.continual import FinishedModel, PreviousRun, count_rows_by_label
from sentiment_ray.train.preflight import (
    _count_fitting_workers,
    _find_largest_cpu_share,
    count_threads,
    hash_model,
    missing_room,
    with_absolute_paths,
)
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.progress import show_progress
from sentiment_ray.train.trainer import train_encoder
from tests.export.test_families import MORE
from tests.export.test_first_token import FAMILIES as TINY
from tests.export.test_first_token import SIZES


def _config(**keys: Any) -> TrainConfig:
    return TrainConfig(**{"prepared": "p", "model": "m", "output": "o"} | keys)


def test_a_worker_has_a_thread_for_each_cpu_and_for_a_fraction_of_one() -> None:
    assert [count_threads(_config(), cpus, {}) for cpus in (0.1, 1.0, 1.5, 6.0)] == [1, 1, 2, 6]
    assert count_threads(_config(use_gpu=True), 4.0, {}) is None
    begun = {"config": {"cpus_per_worker": None}, "chosen": {"num_threads": 2}}
    assert [count_threads(_config(), cpus, begun) for cpus in (6.0, 0.75)] == [2, 1]
    assert count_threads(_config(cpus_per_worker=6.0), 6.0, begun) == 6
    assert count_threads(_config(), 6.0, begun | {"chosen": {}}) == 6  # of an earlier release


@pytest.mark.parametrize(
    ("cpus", "workers", "part"), [((3, 3, 3), 4, 1.5), ((3, 1), 2, 1.5), ((2,), 1, 2.0), ((2,), 3, 2 / 3), ((0,), 1, 0)]
)
def test_workers_get_parts_of_nodes_of_which_as_many_fit(cpus: tuple[int, ...], workers: int, part: float) -> None:
    nodes, config = [{"CPU": float(count)} for count in cpus], _config(num_workers=workers)
    assert _find_largest_cpu_share(nodes, config) == pytest.approx(part)
    assert not part or _count_fitting_workers(nodes, part, config) >= workers


def test_workers_that_fit_the_sum_of_the_nodes_may_fit_none_of_them() -> None:
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 1.0}]
    assert _count_fitting_workers(nodes, 2.0, _config()) == 1
    assert _count_fitting_workers(nodes, 1.0, _config()) == 4
    assert _count_fitting_workers(nodes, 1.0, _config(use_gpu=True)) == 1


@pytest.mark.parametrize(("cpus", "most"), [(8, 5), (16, 11), (32, 5), (5, 3)])
def test_a_range_of_workers_has_room_for_its_largest_number(cpus: int, most: int) -> None:
    nodes, config = [{"CPU": float(cpus)}], _config(num_workers=(2, most))
    part = _find_largest_cpu_share(nodes, config)
    assert part == pytest.approx(cpus / most)
    assert _count_fitting_workers(nodes, math.floor(75 * part) / 100, config) >= most


@pytest.mark.parametrize(("workers", "fitting"), [(5, 5), ((5, 8), 4)])
def test_a_range_of_workers_is_counted_as_ray_counts_it(workers: Any, fitting: int) -> None:
    assert _count_fitting_workers([{"CPU": 4.0}], 0.8, _config(num_workers=workers)) == fitting


def test_what_a_training_waits_for_is_told(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert missing_room(_config(num_workers=2), 1.0) is None
    monkeypatch.setattr("sentiment_ray.train.progress.CHECK_CLUSTER_EVERY_S", 0.0)
    with show_progress(3, lambda history: None, partial(missing_room, _config(num_workers=3), 1.0)):
        time.sleep(2.5)
    told = capsys.readouterr().err
    assert told.count("waiting: the cluster has room for 2 of 3 workers") == 1


@pytest.mark.parametrize(
    ("told", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512}, None),
    ],
)
def test_places_of_a_model_are_what_it_can_be_given(told: dict[str, Any], longest: int | None) -> None:
    assert find_longest_input(told) == longest


def _model(directory: Path, family: str, tokenizer: Path) -> str:
    words = AutoTokenizer.from_pretrained(tokenizer)
    sizes = SIZES | (TINY | MORE)[family] | {"vocab_size": len(words)}
    AutoModel.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(directory)
    words.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize(
    ("family", "keys", "found"),
    [
        ("roberta", {"max_tokens": 10_000}, "reads at most"),
        ("bert", {"frozen_layers": 9}, "frozen_layers = 9, but the encoder has 2 layers"),
        ("albert", {"frozen_layers": 1}, "frozen_layers = 1, but the encoder has 0 layers"),
    ],
)
def test_what_the_encoder_cannot_is_named_before_any_work(
    family: str, keys: dict[str, Any], found: str, tmp_path: Path, tiny_encoder: Path
) -> None:
    with pytest.raises(ConfigError, match=found):
        with_absolute_paths(_config(model=_model(tmp_path, family, tiny_encoder), **{"max_tokens": 8} | keys))


def test_weights_that_are_no_safetensors_are_named(tmp_path: Path, tiny_encoder: Path) -> None:
    model = Path(_model(tmp_path, "bert", tiny_encoder))
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(
        ConfigError, match="has no model.safetensors, but pytorch_model.bin is a pickle.*convert it once"
    ):
        with_absolute_paths(_config(model=str(model), max_tokens=8))


def test_a_model_without_a_tokenizer_is_named(tmp_path: Path, tiny_encoder: Path) -> None:
    model = Path(_model(tmp_path, "bert", tiny_encoder))
    (model / "tokenizer.json").unlink()
    for path in model.glob("vocab.*"):
        path.unlink()
    with pytest.raises(ConfigError, match="has no tokenizer.json"):
        with_absolute_paths(_config(model=str(model), max_tokens=8))


def test_other_weights_in_the_same_place_are_another_model(run: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    shutil.copytree(run, tmp_path / "run")
    assert hash_model(str(tmp_path / "model")) == hash_model(str(tiny_encoder))
    (tmp_path / "model/model.safetensors").open("ab").write(b"more")
    assert hash_model(str(tmp_path / "model")) != hash_model(str(tiny_encoder))
    assert hash_model("google-bert/bert-base-uncased") is None


def test_a_run_is_not_replaced_by_the_training_that_goes_on_from_it(run: Path) -> None:
    with pytest.raises(ConfigError, match="is the run of start_from, which it would replace"):
        train_encoder(_config(model="", start_from=str(run), output=str(run), restart=True))
    assert (run / "run.json").is_file()


def test_what_a_worker_finds_wrong_is_one_line(
    prepared: Path, tmp_path: Path, tiny_encoder: Path, ray_cluster: None
) -> None:
    keys = {"prepared": str(prepared), "output": str(tmp_path / "run"), "max_tokens": 8, "max_failures": 0}
    model = _model(tmp_path / "model", "mpnet", tiny_encoder)
    with pytest.raises(ConfigError, match="gradient_checkpointing: a model of type 'mpnet' does not support it"):
        train_encoder(_config(model=model, gradient_checkpointing=True, **keys))


def test_keys_that_change_no_result_may_change(run: Path) -> None:
    keys = read_json(run / "run.json")["config"] | {"output": str(run)}
    how = {"max_failures": 9, "cpus_per_worker": 0.5, "checkpoint_every_s": 60, "track": "tensorboard"}
    assert train_encoder(TrainConfig(**keys | how))["skipped"]


def test_balanced_weights_count_the_rows_that_are_replayed(tmp_path: Path) -> None:
    old, new = (
        PreparedReviews(tmp_path, ("bad", "good"), {}, {"train": {"bad": bad, "good": good}}, ())
        for bad, good in ((100, 10), (0, 20))
    )
    config = _config(start_from="r", replay=0.5)
    previous = PreviousRun("f", old.labels, old, FinishedModel(tmp_path, 32, HEAD, ()), {})
    assert count_rows_by_label(config, new, previous) == {"bad": 50, "good": 25}
    assert count_rows_by_label(_config(), new, None) == {"bad": 0, "good": 20}


def test_of_two_equal_epochs_the_later_is_the_best() -> None:
    """Ray keeps the later one, so after a kill between the two the run must not end with the earlier."""
    found = [
        Checkpoint(Path(str(epoch)), Progress(epoch=epoch), score) for epoch, score in ((1, 0.5), (2, 0.7), (3, 0.7))
    ]
    assert [checkpoint.progress.epoch for checkpoint in rank_checkpoints(found)] == [3, 2, 1]


def test_metrics_that_cannot_be_written_cost_the_training_nothing(
    ray_cluster: None, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = read_json(run / "run.json")["history"]

    def track(_: Any) -> None:
        raise OSError("no space left")

    with show_progress(3, track) as board:
        board.finish_epoch.remote(history[:1])
        board.finish_epoch.remote(history)
    told = capsys.readouterr().err
    assert "the metrics were not written (no space left)" in told
    assert "epoch 3/3" in told
