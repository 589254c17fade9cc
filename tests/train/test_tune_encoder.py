"""A search tries keys of [train], keeps the best as a file for train_encoder, and refuses what cannot be tried."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.tune_config import Choice, check_search, is_whole
from tests.conftest import ROOT
from tests.export.test_first_token import FAMILIES, SIZES

FILE = """
[train]
prepared = "{prepared}"
output = "{work}/run"
model = "{model}"
epochs = 2
max_tokens = 32
tokens_per_batch = 256

[tune]
output = "{work}/tune"
trials = 3
cpus_per_trial = 1

[tune.search]
learning_rate = {{ low = 1e-5, high = 1e-2, log = true }}
dropout = {{ choices = [0.0, 0.1] }}
epochs = {{ low = 1, high = 2 }}
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.tune_encoder", *arguments],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_best_of_some_trials_is_written_as_a_file_for_training(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    file = tmp_path / "tune.toml"
    file.write_text(FILE.format(prepared=prepared, model=tiny_encoder, work=tmp_path))
    done = _run("--config", str(file))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    found = json.loads((tmp_path / "tune/tune.json").read_text())
    assert 1 <= len(found["trials"]) <= 3
    assert result["best"]["score"] == max(trial["score"] for trial in found["trials"])
    best = TrainConfig(**tomllib.loads((tmp_path / "tune/best.toml").read_text())["train"])
    assert {key: getattr(best, key) for key in result["best"]["keys"]} == result["best"]["keys"]
    assert best.prepared == str(prepared)
    again = _run("--config", str(file))
    assert json.loads(again.stdout) == result | {"skipped": True}
    rows = json.loads((prepared / "prepared.json").read_text())["counts"]["train"]
    assert {line["train_rows"] for trial in found["trials"] for line in trial["history"]} == {rows}
    for trial in found["trials"]:
        assert trial["score"] == max(line["macro_f1"] for line in trial["history"])

    other = FILE.partition("learning_rate")[0] + "lora_rank = {{ low = 3, high = 5, log = true }}\n"
    file.write_text(
        other.replace("trials = 3", "trials = 1").format(prepared=prepared, model=tiny_encoder, work=tmp_path)
    )
    assert _run("--config", str(file)).returncode == 2
    replaced = _run("--config", str(file), "--restart")
    assert replaced.returncode == 0, replaced.stderr
    ((keys, _, _),) = (trial.values() for trial in json.loads((tmp_path / "tune/tune.json").read_text())["trials"])
    assert keys["lora_rank"] in (3, 4, 5)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, "say what to try"),
        ({"learning_rat": {"choices": [1e-5]}}, "Did you mean 'learning_rate'"),
        ({"num_workers": {"choices": [1, 2]}}, "no key of .train. to try"),
        ({"epochs": {"choices": [0]}}, "0 is no value of the key"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, "1.5 is no value of the key"),
        ({"start_from": {"choices": ["a", "b"]}}, "no key of .train. to try"),
        ({"lora_rank": {"choices": [8]}, "frozen_layers": {"choices": [0, 4]}}, "frozen_layers has no meaning"),
        (
            {"max_windows": {"choices": [4, 8]}, "truncation": {"choices": ["windows", "head"]}},
            "max_windows = 4 is for truncation = 'windows'",
        ),
    ],
)
def test_what_cannot_be_tried_is_named(search: dict[str, Any], found: str) -> None:
    base = TrainConfig(prepared="p", model="m", output="o")
    with pytest.raises(ConfigError, match=found):
        check_search({name: Choice(**choice) for name, choice in search.items()}, base)


def test_keys_that_need_each_other_can_be_tried_together() -> None:
    search = {"max_windows": Choice(low=4, high=8), "truncation": Choice(choices=("windows",))}
    found = check_search(search, TrainConfig(prepared="p", model="m", output="o"))
    assert {config.max_windows for config in found} == {4, 8}
    assert is_whole("max_windows", found[0])


def test_a_search_over_models_has_no_earlier_run() -> None:
    base = TrainConfig(prepared="p", start_from="r", output="o")
    with pytest.raises(ConfigError, match="has one already by start_from"):
        check_search({"model": Choice(choices=("a", "b"))}, base)


def test_a_search_that_was_killed_before_its_list_of_trials_was_written_begins_anew(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import _can_go_on

    storage = tmp_path / "trials"
    assert not _can_go_on(storage)
    storage.mkdir()
    (storage / "tuner.pkl").write_bytes(b"")
    (storage / "experiment_state-2026.json").write_text('{"trial_data": [')
    assert not _can_go_on(storage)
    assert not storage.exists()


def test_trials_whose_list_is_damaged_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import _can_go_on

    storage = tmp_path / "trials"
    (storage / "trial-1").mkdir(parents=True)
    (storage / "trial-1/result.json").write_text("{}")
    (storage / "experiment_state-2026.json").write_text('{"trial_data": [')
    assert not _can_go_on(storage)
    (aside,) = tmp_path.iterdir()
    assert (aside / "trial-1/result.json").exists()
    assert f"they begin anew. See {aside}." in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_that_is_interrupted_goes_on_with_what_is_left(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    file = tmp_path / "tune.toml"
    file.write_text(FILE.format(prepared=prepared, model=tiny_encoder, work=tmp_path))
    command = [sys.executable, "-m", "jobs.tune_encoder", "--config", str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not any((tmp_path / "tune").glob("trials/*/result.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told.splitlines()[-1]) == (130, "error: interrupted.")
    assert not (tmp_path / "tune/tune.json").exists()
    done = _run("--config", str(file))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] + result["failed"] == 3


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_counted(prepared: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    """MPNet cannot compute activations again, which only its trial finds out."""
    pytest.importorskip("optuna")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    sizes = SIZES | FAMILIES["mpnet"] | {"vocab_size": len(tokenizer)}
    for saved in (AutoModel.from_config(AutoConfig.for_model("mpnet", **sizes)), tokenizer):
        saved.save_pretrained(tmp_path / "model")
    file, search = tmp_path / "tune.toml", "gradient_checkpointing = {{ choices = [false, true] }}\n"
    text = FILE.partition("learning_rate")[0] + search
    file.write_text(text.format(prepared=prepared, model=tmp_path / "model", work=tmp_path))
    done = _run("--config", str(file), "--trials", "5")
    assert done.returncode == 0, done.stderr
    result, found = json.loads(done.stdout), json.loads((tmp_path / "tune/tune.json").read_text())
    assert result["trials"] == len(found["trials"]) > 0
    assert result["failed"] == len(found["failed"]) == 5 - result["trials"] > 0
    for trial in found["failed"]:
        assert trial["keys"] == {"gradient_checkpointing": True}
        assert "gradient_checkpointing: a model of type 'mpnet' cannot. Drop it." in trial["error"]
    assert done.stderr.count("warning: a trial failed with {'gradient_checkpointing': True}: ") == result["failed"]


@pytest.mark.parametrize("keys", [{"distill": {"scores": "s"}}, {"start_from": "r", "replay": 0.5}])
def test_a_search_refuses_what_its_trials_would_leave_out(keys: dict[str, Any]) -> None:
    base = TrainConfig(prepared="p", model="m", output="o", **keys)
    with pytest.raises(ConfigError, match="A search trains on the prepared reviews alone"):
        check_search({"epochs": Choice(choices=(1, 2))}, base)


@pytest.mark.parametrize(
    ("name", "whole"), [("lora_rank", True), ("early_stopping", True), ("tokens_per_batch", True), ("dropout", False)]
)
def test_whole_numbers_are_drawn_for_keys_that_take_them(name: str, whole: bool) -> None:
    low, high = (2, 9) if whole else (0.1, 0.5)
    drawn = check_search({name: Choice(low=low, high=high)}, TrainConfig(prepared="p", model="m", output="o"))
    assert is_whole(name, drawn[0]) is whole


@pytest.mark.parametrize("choice", [{}, {"low": 1}, {"low": 2, "high": 1}, {"choices": [1], "low": 0, "high": 1}])
def test_a_choice_is_a_list_or_two_ends(choice: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="choices|low"):
        Choice(**choice)
