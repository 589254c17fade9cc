"""A real run of two Ray Train workers: exact metrics, the best checkpoint, resuming, and messages for wrong input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import fingerprint, read_json, write_json
from sentiment_ray.train.checkpoint import find_newest_checkpoint, keep_only, list_checkpoints
from sentiment_ray.train.config import TrainConfig, use_first_names
from sentiment_ray.train.preflight import with_absolute_paths
from sentiment_ray.train.prepared import read_prepared
from sentiment_ray.train.progress import read_input_error, show_progress
from sentiment_ray.train.ray_trainer import _run_worker
from sentiment_ray.train.task import WorkerPlan
from sentiment_ray.train.trainer import CHANGEABLE_KEYS, _describe_run, train_encoder
from tests.conftest import ROOT
from tests.situations.run_job import run_job


def _config(run: Path, **changes: object) -> TrainConfig:
    return TrainConfig(**(read_json(run / "run.json")["config"] | {"output": str(run)} | changes))


def test_every_validation_row_is_evaluated_exactly_once(run: Path, prepared: Path) -> None:
    rows = parquet.read_table(prepared / "validation").num_rows
    assert [epoch["rows"] for epoch in read_json(run / "run.json")["history"]] == [rows] * 3


def test_workers_train_on_every_row_in_every_epoch(run: Path, prepared: Path) -> None:
    rows = parquet.read_table(prepared / "train").num_rows
    assert [epoch["train_rows"] for epoch in read_json(run / "run.json")["history"]] == [rows] * 3


def test_the_loss_falls(run: Path) -> None:
    losses = [epoch["loss"] for epoch in read_json(run / "run.json")["history"]]
    assert losses[-1] < losses[0]


def test_the_best_checkpoint_is_the_one_of_highest_macro_f1(run: Path) -> None:
    manifest = read_json(run / "run.json")
    best = manifest["best"]
    assert best["metrics"]["macro_f1"] == max(epoch["macro_f1"] for epoch in manifest["history"])
    assert (run / best["checkpoint"] / "model.safetensors").is_file()


def test_reported_metrics_are_those_of_the_checkpoint_on_disk(run: Path, prepared: Path) -> None:
    """Recomputed from the saved weights, row by row, with another library's pipeline."""
    from sklearn.metrics import accuracy_score, f1_score
    from transformers import pipeline

    best = read_json(run / "run.json")["best"]
    table = parquet.read_table(prepared / "validation")
    answers = pipeline("text-classification", model=str(run / best["checkpoint"]))(
        table["text"].to_pylist(), truncation=True, max_length=32
    )
    labels = [answer["label"] for answer in answers]
    # Training used bf16 and this uses fp32, so a row on the boundary between two labels may differ.
    one_row = 1 / len(labels)
    assert accuracy_score(table["label"].to_pylist(), labels) == pytest.approx(
        best["metrics"]["accuracy"], abs=1.5 * one_row
    )
    assert f1_score(table["label"].to_pylist(), labels, average="macro") == pytest.approx(
        best["metrics"]["macro_f1"], abs=4 * one_row
    )


def test_the_base_model_is_measured_before_fine_tuning(run: Path, prepared: Path) -> None:
    base = read_json(run / "run.json")["base_model"]
    assert base["method"] == "nearest label by embedding"
    assert base["rows"] == parquet.read_table(prepared / "test").num_rows


def test_a_finished_run_is_skipped(run: Path) -> None:
    before = (run / "run.json").stat().st_mtime_ns
    assert train_encoder(_config(run))["skipped"]
    assert (run / "run.json").stat().st_mtime_ns == before


def test_a_run_is_not_overwritten_by_another_configuration(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(epochs = 3, now 1; seed = 0, now 5\).*--restart.*--start-from"):
        train_encoder(_config(run, epochs=1, seed=5, max_failures=9, track="tensorboard"))


def test_a_run_made_before_a_key_was_renamed_is_recognised(run: Path, tmp_path: Path) -> None:
    manifest = read_json(run / "run.json")
    old_config = {"warmup_share" if key == "warmup_ratio" else key: value for key, value in manifest["config"].items()}
    hashed = {key: value for key, value in old_config.items() if key not in CHANGEABLE_KEYS}
    assert manifest["fingerprint"] == fingerprint([hashed, manifest["made_from"]])
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/run.json").write_text(json.dumps(manifest | {"config": old_config}))
    with pytest.raises(ConfigError, match=r"\(warmup_ratio = 0.1, now 0.2\)"):
        train_encoder(_config(run, output=str(tmp_path / "run"), warmup_ratio=0.2))


def test_a_changed_input_of_a_run_is_named(run: Path, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(prepared, tmp_path / "prepared")
    for name in ("run.json", "config.json"):
        manifest = read_json(tmp_path / "run" / name)
        manifest["config"]["prepared"] = str(tmp_path / "prepared")
        hashed = {key: value for key, value in manifest["config"].items() if key not in CHANGEABLE_KEYS}
        manifest["fingerprint"] = fingerprint([use_first_names(hashed), manifest["made_from"]])
        (tmp_path / "run" / name).write_text(json.dumps(manifest))
    (tmp_path / "prepared/prepared.json").open("a").write(" ")  # the splits are the same, so the reviews are
    assert train_encoder(_config(tmp_path / "run"))["skipped"]
    part = next((tmp_path / "prepared/train").glob("*.parquet"))
    parquet.write_table(parquet.read_table(part).slice(1), part)
    with pytest.raises(ConfigError, match=r"\(another prepared\)"):
        train_encoder(_config(tmp_path / "run"))


def test_an_interrupted_run_resumes_from_its_newest_complete_checkpoint(
    run: Path, tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed driver leaves checkpoints without run.json, and the last checkpoint may be half copied."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "run.json").unlink()
    complete, later = sorted((copy / "attempts/1").iterdir())
    shutil.rmtree(later)
    half_copied = complete.with_name("epoch-2-and-0.500000")
    shutil.copytree(complete, half_copied)
    (half_copied / "model.safetensors").write_bytes(b"half of i")
    cut_short = complete.with_name("epoch-2-and-0.600000")
    cut_short.mkdir()
    shutil.copy(complete / "config.json", cut_short)
    result = train_encoder(_config(run, output=str(copy)))
    assert not result["skipped"]
    told = capsys.readouterr().err
    assert "resuming in epoch" in told
    assert f"warning: the checkpoint {half_copied} is passed over: model.safetensors differs from its hash" in told
    assert f"warning: the checkpoint {cut_short} is passed over: checkpoint.json is missing" in told
    times = ("seconds", "tokens_per_s")
    histories = [
        [
            {key: value for key, value in line.items() if key not in times}
            for line in read_json(path / "run.json")["history"]
        ]
        for path in (copy, run)
    ]
    assert histories[0] == histories[1]
    assert half_copied.exists()
    assert not cut_short.exists()


def test_an_interrupted_training_says_so_and_keeps_its_checkpoints(run: Path, tmp_path: Path) -> None:
    config = read_json(run / "run.json")["config"]
    command = [sys.executable, "-m", "jobs.train_encoder", "--output", str(tmp_path / "run"), "--epochs", "500"]
    command += ["--prepared", config["prepared"], "--model", config["model"], "--max-tokens", "32"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while not list_checkpoints(tmp_path / "run"):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        stdout, stderr = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert stderr.splitlines()[-1] == "error: interrupted."
    assert list_checkpoints(tmp_path / "run")


def test_every_epoch_has_a_line_of_metrics(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == read_json(run / "run.json")["history"]


def test_every_step_has_a_line(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    num_steps = sum(epoch["steps"] for epoch in read_json(run / "run.json")["history"])
    assert [line["step"] for line in lines] == list(range(1, num_steps + 1))
    assert {line["total_steps"] for line in lines} == {num_steps}


def test_the_chosen_numbers_stand_beside_the_configuration(run: Path) -> None:
    manifest = read_json(run / "run.json")
    assert manifest["chosen"]["tokens_per_batch"] == manifest["config"]["tokens_per_batch"]
    assert manifest["chosen"].keys() >= {"rows_per_batch", "passes_per_epoch", "learning_rate"}
    assert manifest["chosen"]["num_threads"] == 1


def test_a_run_of_an_earlier_release_with_its_default_batch_is_up_to_date(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    keys = {"prepared": str(prepared), "model": str(tiny_encoder), "output": str(tmp_path / "run"), "max_tokens": 32}
    config, earlier = TrainConfig(**keys), with_absolute_paths(TrainConfig(**keys, tokens_per_batch=2048))
    plan = _describe_run(earlier, read_prepared(prepared)) | {"best": {"epoch": 1}}
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run/run.json", plan)
    assert train_encoder(config)["skipped"]
    write_json(tmp_path / "run/run.json", plan | {"chosen": {}})
    with pytest.raises(ConfigError, match="tokens_per_batch = 2048, now 'auto'"):
        train_encoder(config)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prepared": "/nowhere"}, DataError, "/nowhere/prepared.json is missing"),
        ({"model": "/nowhere/model"}, ConfigError, "'/nowhere/model' does not exist"),
        ({"num_workers": 50, "output": "/tmp/never"}, ConfigError, "the cluster has 2"),
        ({"use_gpu": True, "output": "/tmp/never"}, ConfigError, "needs as many GPUs"),
    ],
)
def test_a_wrong_input_is_named_before_any_work(
    run: Path, ray_cluster: None, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_encoder(_config(run, **changes))
    assert not Path("/tmp/never").exists()


def test_a_model_that_cannot_become_a_bundle_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match="model_type is 'gpt2', of which no bundle can be made"):
        train_encoder(_config(run, model=str(tmp_path)))


def test_an_empty_split_is_named(run: Path, prepared: Path, tmp_path: Path) -> None:
    manifest = json.loads((prepared / "prepared.json").read_text())
    manifest["counts"]["train"] = 0
    (tmp_path / "prepared.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="train split has 0 rows"):
        train_encoder(_config(run, prepared=str(tmp_path), output=str(tmp_path / "run")))


def test_a_training_that_diverges_ends_at_once_with_one_line(
    prepared: Path, tiny_encoder: Path, tmp_path: Path, ray_cluster: None
) -> None:
    done = run_job(
        "train_encoder", "--prepared", str(prepared), "--model", str(tiny_encoder), "--output", str(tmp_path / "run"),
        "--max-tokens", "32", "--tokens-per-batch", "128", "--learning-rate", "1e30",
    )  # fmt: skip
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.error_lines
    assert line.startswith("error: The training diverged in epoch 1, step ")
    assert done.stderr.splitlines()[-1] == line
    assert not list_checkpoints(tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()


def test_workers_do_not_train_again_after_an_error_about_their_input(ray_cluster: None, tmp_path: Path) -> None:
    """A plan without a configuration: a worker that begins to train with it fails."""
    with show_progress(1, lambda history: None) as board:
        plan = WorkerPlan(None, None, num_threads=None, board=board, checkpoint=None)  # type: ignore[arg-type]
        assert read_input_error(board) is None
        ray.get([board.set_error.remote(ConfigError(text)) for text in ("first", "second")])
        _run_worker({"plan": plan})
        assert str(read_input_error(board)) == "first"


@pytest.mark.parametrize("damage", ["all", "newest"])
def test_checkpoints_that_are_passed_over_are_named_and_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    shutil.copytree(run / "attempts", tmp_path / "attempts")
    (best,) = {path.parent for path in (tmp_path / "attempts").glob("*/epoch-3/checkpoint.json")}
    damaged = [best] if damage == "newest" else sorted((tmp_path / "attempts").glob("*/epoch-*"))
    for number, path in enumerate(damaged):
        if number % 2:
            (path / "checkpoint.json").write_text('{"files": ')
        else:
            (path / "state.pt").write_bytes(b"")
    newest = find_newest_checkpoint(tmp_path)
    told = capsys.readouterr().err
    assert all(f"the checkpoint {path} is passed over: " in told for path in damaged)
    if damage == "all":
        assert newest is None
        assert "can be used, so the training starts from the beginning" in told
    else:
        assert newest is not None
        assert newest.progress.epoch < 3
    keep_only(tmp_path, [])
    assert sorted((tmp_path / "attempts").glob("*/epoch-*")) == damaged


def test_a_run_without_checkpoints_begins_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_newest_checkpoint(tmp_path) is None
    assert capsys.readouterr().err == ""
