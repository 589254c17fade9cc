"""A search tries values for keys of [train], writes the best as a file for train_encoder, and checks its input."""

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
from sentiment_ray.train.tune_config import SearchRange, TuneConfig, check_search, takes_integers
from tests.conftest import ROOT
from tests.export.test_first_token import FAMILIES, SIZES
from tests.situations.run_job import Outcome, run_job

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
TWO_TRIALS = FILE.replace("trials = 3", "trials = 2")


def _run(*arguments: str) -> Outcome:
    return run_job("tune_encoder", *arguments)


def test_the_best_trial_is_written_as_a_file_for_train_encoder(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    file = tmp_path / "tune.toml"
    file.write_text(TWO_TRIALS.format(prepared=prepared, model=tiny_encoder, work=tmp_path))
    done = _run("--config", str(file))
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    manifest = json.loads((tmp_path / "tune/tune.json").read_text())
    assert 1 <= len(manifest["trials"]) <= 2
    assert result["best"]["score"] == max(trial["score"] for trial in manifest["trials"])
    best = TrainConfig(**tomllib.loads((tmp_path / "tune/best.toml").read_text())["train"])
    assert {key: getattr(best, key) for key in result["best"]["keys"]} == result["best"]["keys"]
    assert best.prepared == str(prepared)
    again = _run("--config", str(file))
    assert json.loads(again.stdout) == result | {"skipped": True}
    rows = json.loads((prepared / "prepared.json").read_text())["counts"]["train"]
    assert {line["train_rows"] for trial in manifest["trials"] for line in trial["history"]} == {rows}
    for trial in manifest["trials"]:
        assert trial["score"] == max(line["macro_f1"] for line in trial["history"])

    other = TWO_TRIALS.partition("learning_rate")[0] + "lora_rank = {{ low = 3, high = 5, log = true }}\n"
    file.write_text(
        other.replace("trials = 2", "trials = 1").format(prepared=prepared, model=tiny_encoder, work=tmp_path)
    )
    assert _run("--config", str(file)).exit_code == 2
    replaced = _run("--config", str(file), "--restart")
    assert replaced.exit_code == 0, replaced.stderr
    ((keys, _, _),) = (trial.values() for trial in json.loads((tmp_path / "tune/tune.json").read_text())["trials"])
    assert keys["lora_rank"] in (3, 4, 5)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({}, "say what to try"),
        ({"learning_rat": {"choices": [1e-5]}}, "Did you mean 'learning_rate'"),
        ({"num_workers": {"choices": [1, 2]}}, "not a key of .train. to try"),
        ({"epochs": {"choices": [0]}}, "epochs does not accept 0"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, "dropout does not accept 1.5"),
        ({"start_from": {"choices": ["a", "b"]}}, "not a key of .train. to try"),
        ({"lora_rank": {"choices": [8]}, "frozen_layers": {"choices": [0, 4]}}, "frozen_layers has no effect"),
        (
            {"max_windows": {"choices": [4, 8]}, "truncation": {"choices": ["windows", "head"]}},
            "max_windows = 4 needs truncation = 'windows'",
        ),
    ],
)
def test_a_wrong_search_is_named(search: dict[str, Any], message: str) -> None:
    base = TrainConfig(prepared="p", model="m", output="o")
    with pytest.raises(ConfigError, match=message):
        check_search({name: SearchRange(**values) for name, values in search.items()}, base)


def test_keys_that_depend_on_each_other_can_be_tried_together() -> None:
    search = {"max_windows": SearchRange(low=4, high=8), "truncation": SearchRange(choices=("windows",))}
    checked = check_search(search, TrainConfig(prepared="p", model="m", output="o"))
    assert {config.max_windows for config in checked} == {4, 8}
    assert takes_integers("max_windows", checked[0])


def test_a_search_takes_the_old_name_of_a_key() -> None:
    tune = TuneConfig(output="o", search={"warmup_share": {"choices": [0.0, 0.1]}})
    checked = check_search(tune.search, TrainConfig(prepared="p", model="m", output="o"))
    assert {config.warmup_ratio for config in checked} == {0.0, 0.1}


def test_a_search_over_models_cannot_start_from_a_run() -> None:
    base = TrainConfig(prepared="p", start_from="r", output="o")
    with pytest.raises(ConfigError, match="start_from of .train. sets the model"):
        check_search({"model": SearchRange(choices=("a", "b"))}, base)


def test_a_search_that_was_killed_before_its_list_of_trials_was_written_starts_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import _can_resume

    storage = tmp_path / "trials"
    assert not _can_resume(storage)
    storage.mkdir()
    (storage / "tuner.pkl").write_bytes(b"")
    (storage / "experiment_state-2026.json").write_text('{"trial_data": [')
    assert not _can_resume(storage)
    assert not storage.exists()


def test_trials_with_a_damaged_list_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import _can_resume

    storage = tmp_path / "trials"
    (storage / "trial-1").mkdir(parents=True)
    (storage / "trial-1/result.json").write_text("{}")
    (storage / "experiment_state-2026.json").write_text('{"trial_data": [')
    assert not _can_resume(storage)
    (aside,) = tmp_path.iterdir()
    assert (aside / "trial-1/result.json").exists()
    assert f"all trials start again. See {aside}." in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_search_resumes_with_the_remaining_trials(
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
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr.splitlines()[-1]) == (130, "error: interrupted.")
    assert not (tmp_path / "tune/tune.json").exists()
    done = _run("--config", str(file))
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] + result["failed"] == 3


@pytest.mark.slow
def test_a_failed_trial_is_reported_and_counted(prepared: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    """MPNet does not support gradient checkpointing, which only the trial can find out."""
    pytest.importorskip("optuna")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    sizes = SIZES | FAMILIES["mpnet"] | {"vocab_size": len(tokenizer)}
    for saved in (AutoModel.from_config(AutoConfig.for_model("mpnet", **sizes)), tokenizer):
        saved.save_pretrained(tmp_path / "model")
    file, search = tmp_path / "tune.toml", "gradient_checkpointing = {{ choices = [false, true] }}\n"
    text = FILE.partition("learning_rate")[0] + search
    file.write_text(text.format(prepared=prepared, model=tmp_path / "model", work=tmp_path))
    done = _run("--config", str(file), "--trials", "5")
    assert done.exit_code == 0, done.stderr
    result, manifest = json.loads(done.stdout), json.loads((tmp_path / "tune/tune.json").read_text())
    assert result["trials"] == len(manifest["trials"]) > 0
    assert result["failed"] == len(manifest["failed"]) == 5 - result["trials"] > 0
    for trial in manifest["failed"]:
        assert trial["keys"] == {"gradient_checkpointing": True}
        assert "gradient_checkpointing: a model of type 'mpnet' does not support it. Remove it." in trial["error"]
    assert done.stderr.count("warning: a trial failed with {'gradient_checkpointing': True}: ") == result["failed"]


@pytest.mark.parametrize("keys", [{"distill": {"scores": "s"}}, {"start_from": "r", "replay": 0.5}])
def test_a_search_refuses_keys_that_its_trials_would_ignore(keys: dict[str, Any]) -> None:
    base = TrainConfig(prepared="p", model="m", output="o", **keys)
    with pytest.raises(ConfigError, match="A search trains on the prepared reviews only"):
        check_search({"epochs": SearchRange(choices=(1, 2))}, base)


@pytest.mark.parametrize(
    ("name", "is_integer"),
    [("lora_rank", True), ("early_stopping", True), ("tokens_per_batch", True), ("dropout", False)],
)
def test_integers_are_drawn_for_keys_that_take_integers(name: str, is_integer: bool) -> None:
    low, high = (2, 9) if is_integer else (0.1, 0.5)
    checked = check_search({name: SearchRange(low=low, high=high)}, TrainConfig(prepared="p", model="m", output="o"))
    assert takes_integers(name, checked[0]) is is_integer


@pytest.mark.parametrize("keys", [{}, {"low": 1}, {"low": 2, "high": 1}, {"choices": [1], "low": 0, "high": 1}])
def test_a_search_range_is_a_list_or_two_bounds(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="choices|low"):
        SearchRange(**keys)
