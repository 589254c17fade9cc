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
from sentiment_ray.manifest import LOCK_DIRECTORY
from sentiment_ray.output_lock import hold_local_lock
from sentiment_ray.train.config import LORA_LEARNING_RATE, TrainConfig
from sentiment_ray.train.prepared import read_prepared
from sentiment_ray.train.trial import TrialPlan, configure_trial
from sentiment_ray.train.trial_records import TrialRecord, append_record, read_records, write_records
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
TWO_SETTINGS = FILE.partition("learning_rate")[0].replace("epochs = 2", "epochs = 1") + (
    "dropout = {{ choices = [0.0, 0.1] }}\n"
)


def _read_manifest(work: Path) -> dict[str, Any]:
    return dict(json.loads((work / "tune/tune.json").read_text()))


def _run(*arguments: str) -> Outcome:
    return run_job("tune_encoder", *arguments)


def test_a_search_tries_each_setting_once_and_goes_on_when_more_trials_are_asked_for(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    file = tmp_path / "tune.toml"
    file.write_text(TWO_SETTINGS.format(prepared=prepared, model=tiny_encoder, work=tmp_path))
    done = _run("--config", str(file), "--trials", "1")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines()[0] == "1 setting was trained."
    (first,) = _read_manifest(tmp_path)["trials"]
    assert _run("--config", str(file), "--trials", "1").result == done.result | {"skipped": True}

    more = _run("--config", str(file), "--trials", "4")
    assert more.exit_code == 0, more.stderr
    assert "all 2 settings of [tune.search] have been tried, so the search ends after 2 of 4 trials" in more.stderr
    manifest = _read_manifest(tmp_path)
    assert manifest["trials"][0] == first
    scores = sorted((trial["score"] for trial in manifest["trials"]), reverse=True)
    assert [manifest["scores"][name] for name in ("best", "second_best", "worst")] == [*scores, scores[-1]]
    assert f"the second best has {scores[1]:.3f}" in more.stderr
    assert [trial["keys"]["dropout"] for trial in manifest["trials"]] in ([0.0, 0.1], [0.1, 0.0])
    rows = json.loads((prepared / "prepared.json").read_text())["counts"]["train"]
    assert {line["train_rows"] for trial in manifest["trials"] for line in trial["history"]} == {rows}
    assert more.result["best"]["score"] == max(trial["score"] for trial in manifest["trials"])
    best = TrainConfig(**tomllib.loads((tmp_path / "tune/best.toml").read_text())["train"])
    assert {key: getattr(best, key) for key in more.result["best"]["keys"]} == more.result["best"]["keys"]
    assert best.prepared == str(prepared)
    assert _run("--config", str(file), "--trials", "3").result == more.result | {"skipped": True}


def test_another_search_replaces_the_result_of_the_first_only_when_it_has_one(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    pytest.importorskip("peft")
    file, output = tmp_path / "tune.toml", tmp_path / "tune"
    output.mkdir()
    for name in ("tune.json", "search.json"):
        (output / name).write_text('{"fingerprint": "of another search", "config": [{"trials": 1}, {}]}')
    (output / "best.toml").write_text("[train]")
    text = TWO_SETTINGS.partition("[tune.search]")[0] + "[tune.search]\nlora_rank = {{ low = 3, high = 5, log = true }}"
    file.write_text(text.format(prepared=prepared, model=tmp_path / "nothing", work=tmp_path))
    assert _run("--config", str(file), "--restart").exit_code == 2
    assert (output / "best.toml").read_text() == "[train]"

    file.write_text(text.format(prepared=prepared, model=tiny_encoder, work=tmp_path))
    refused = _run("--config", str(file), "--trials", "1")
    assert refused.exit_code == 2
    assert "--restart" in refused.stderr
    replaced = _run("--config", str(file), "--trials", "1", "--restart")
    assert replaced.exit_code == 0, replaced.stderr
    (trial,) = _read_manifest(tmp_path)["trials"]
    assert trial["keys"]["lora_rank"] in (3, 4, 5)
    best = tomllib.loads((output / "best.toml").read_text())["train"]
    assert best["learning_rate"] == LORA_LEARNING_RATE
    assert not any(output.glob("trials/**/*.safetensors"))


def test_a_trial_takes_the_steps_of_all_workers_and_the_defaults_of_its_keys(prepared: Path) -> None:
    base = TrainConfig(prepared="p", model="m", output="o", num_workers=(1, 3), accumulation_steps=2)
    plan = TrialPlan(base, read_prepared(prepared), {}, use_gpu=False)
    assert configure_trial(plan, {}).accumulation_steps == 6
    assert configure_trial(plan, {"accumulation_steps": 4}).accumulation_steps == 12
    plain, low_rank = configure_trial(plan, {"lora_rank": None}), configure_trial(plan, {"lora_rank": 4})
    assert (plain.learning_rate, low_rank.learning_rate) == (5e-5, LORA_LEARNING_RATE)
    assert configure_trial(plan, {"lora_rank": 4, "learning_rate": 2e-4}).learning_rate == 2e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["negative", "awful", "positive"]}, "also has awful"),
        ({"class_weights": {"happy": 2.0}}, "class_weights: 'happy' is not a label"),
    ],
)
def test_what_a_training_refuses_is_refused_before_the_first_trial(
    run: Path, prepared: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import tune_encoder

    labels = {key: changes[key] for key in changes if key == "labels"}
    manifest = json.loads((prepared / "prepared.json").read_text()) | labels
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared/prepared.json").write_text(json.dumps(manifest))
    keys = {key: value for key, value in changes.items() if key != "labels"}
    keys |= {"prepared": str(tmp_path / "prepared"), "start_from": str(run), "max_tokens": 32}
    base = TrainConfig(output=str(tmp_path / "run"), **keys)
    config = TuneConfig(output=str(tmp_path / "tune"), search={"dropout": {"choices": [0.0, 0.1]}})
    with pytest.raises(ConfigError, match=message):
        tune_encoder(config, base)
    assert not (tmp_path / "tune").exists()


def test_a_line_of_a_trial_that_was_cut_short_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [TrialRecord({"dropout": 0.1}, 0.5, [{"epoch": 1}]), TrialRecord({"dropout": 0.2}, error="wrong")]
    for record in records:
        append_record(tmp_path, record)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"keys": {"dro')
    assert read_records(tmp_path) == records
    assert "trials.jsonl: line 3 is damaged; its trial is trained again" in capsys.readouterr().err
    write_records(tmp_path, records)
    append_record(tmp_path, records[0])
    assert read_records(tmp_path) == [*records, records[0]]
    assert read_records(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({}, "say what to try"),
        ({"learning_rat": {"choices": [1e-5]}}, "Did you mean 'learning_rate'"),
        ({"num_workers": {"choices": [1, 2]}}, "not a key of .train. to try"),
        ({"epochs": {"choices": [0]}}, "epochs does not accept 0"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, "dropout does not accept 1.5"),
        ({"start_from": {"choices": ["a", "b"]}}, "not a key of .train. to try"),
        ({"seed": {"choices": [1, 2, 3]}}, "a seed cannot be tried"),
        ({"dropout": {"choices": [0.0, 0.1]}, "seed": {"low": 0, "high": 9}}, "a seed cannot be tried"),
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


def test_trials_without_a_list_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.search import Search, set_old_trials_aside

    storage = tmp_path / "trials"
    (storage / "trial-1").mkdir(parents=True)
    (storage / "trial-1/result.json").write_text("{}")
    base = TrainConfig(prepared="p", model="m", output="o")
    search = Search(TuneConfig(output="o"), base, TrialPlan(base, None, {}, use_gpu=False), storage)  # type: ignore[arg-type]
    set_old_trials_aside(search, [TrialRecord({"dropout": 0.1}, 0.5, [])])
    assert storage.exists()
    set_old_trials_aside(search, [])
    (aside,) = tmp_path.iterdir()
    assert (aside / "trial-1/result.json").exists()
    told = capsys.readouterr().err
    assert "has no trials.jsonl" in told
    assert str(aside) in told


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
    while not (tmp_path / "tune/trials.jsonl").read_text() if (tmp_path / "tune/trials.jsonl").exists() else True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr.splitlines()[-1]) == (130, "error: interrupted.")
    assert not (tmp_path / "tune/tune.json").exists()
    before = (tmp_path / "tune/trials.jsonl").read_text()
    done = _run("--config", str(file))
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] + result["failed"] == 3
    assert (tmp_path / "tune/trials.jsonl").read_text().startswith(before)


def test_a_second_search_in_the_same_output_is_refused(
    prepared: Path, tiny_encoder: Path, tmp_path: Path, ray_cluster: None
) -> None:
    pytest.importorskip("optuna")
    from sentiment_ray.train.tune import tune_encoder

    base = TrainConfig(prepared=str(prepared), model=str(tiny_encoder), output="o", max_tokens=32)
    output = tmp_path / "search"
    refused = pytest.raises(ConfigError, match="is being written by another run")
    with hold_local_lock(output / LOCK_DIRECTORY, output), refused:
        tune_encoder(TuneConfig(output=str(output), search={"dropout": {"choices": [0.1]}}), base)
    assert list(output.iterdir()) == []


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
    assert (result["trials"], result["failed"]) == (1, 1)
    (trial,) = manifest["failed"]
    assert trial["keys"] == {"gradient_checkpointing": True}
    assert trial["error"] == "gradient_checkpointing: a model of type 'mpnet' does not support it. Remove it."
    assert done.stderr.count("warning: a trial failed with {'gradient_checkpointing': True}: ") == 1
    again = _run("--config", str(file), "--trials", "6")
    assert again.result == result | {"skipped": True}


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
