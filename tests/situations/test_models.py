"""Models as people have them: each broken one ends the job in one line that names the file and what to do.

Nothing here starts Ray: what is wrong with a model is found before any work.
"""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.hostile.base_models import edited, replaced, written
from tests.hostile.broken_models import (
    BROKEN,
    LFS,
    PAGE,
    POINTER,
    adapter,
    cut,
    directory_with,
    moved,
    unfinished_in_the_hubs_cache,
    without,
)
from tests.hostile.damage import Cases
from tests.situations.run_job import CLI, Outcome, run_job

GOLDEN_BUNDLE = Path(__file__).parents[1] / "golden/bundle"
MOST_SECONDS = 10
"""Seconds of the processor that a refusal takes at most."""


@pytest.fixture
def model(tiny_encoder: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a job that would start Ray."""
    for module in ("train.trainer", "train.tune", "data.prepare"):
        monkeypatch.setattr(f"sentiment_ray.{module}.connect", lambda: pytest.fail("Ray would be started"))


def assert_refused(outcome: Outcome, words: str) -> None:
    """One line `error: …` with these words, and exit code 2."""
    assert outcome.exit_code == 2, outcome.stderr
    assert outcome.stderr.splitlines() == outcome.error_lines
    assert len(outcome.error_lines) == 1
    assert re.search(words, outcome.error_lines[0]), outcome.error_lines[0]
    assert len(outcome.error_lines[0]) < 900
    assert outcome.stdout == ""


TRAIN = '[train]\nprepared = "prepared"\nmodel = "model"\noutput = "run"\n'
TUNE = '[tune]\noutput = "tune"\n[tune.search]\nepochs = { choices = [1, 2] }\ndropout = { choices = [0.0, 0.1] }\n'
PREPARE = '[prepare]\ninput = "reviews.csv"\noutput = "prepared"\n'
READERS = {
    "train_encoder": ("--prepared", "prepared", "--model", "model", "--output", "run"),
    "tune_encoder": ("--config", "search.toml"),
    "pipeline": ("--config", "all.toml"),
}
"""Jobs that train a base model, and their arguments."""


@pytest.fixture
def settings(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviews and configurations beside the model, in the current directory."""
    monkeypatch.chdir(model.parent)
    Path("reviews.csv").write_text("text,label\ngood,positive\n")
    Path("search.toml").write_text(TRAIN + TUNE)
    Path("all.toml").write_text(PREPARE + TRAIN)


def test_there_are_many_broken_base_models() -> None:
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_base_model_is_one_line_before_any_work(model: Path, name: str, settings: None) -> None:
    harm, words = BROKEN[name]
    harm(model)
    before = sorted(Path().iterdir())
    for job, arguments in READERS.items():
        started = time.process_time()
        outcome = run_job(job, *arguments)
        assert time.process_time() - started < MOST_SECONDS
        assert_refused(outcome, words)
        assert str(model) in outcome.stderr
    assert sorted(Path().iterdir()) == before


def test_a_download_into_the_hubs_cache_that_has_not_finished_is_named(model: Path) -> None:
    unfinished_in_the_hubs_cache(model)
    snapshot = model / "snapshots" / ("c" * 40)
    (snapshot / "model.safetensors").unlink()
    outcome = run_job("train_encoder", "--prepared", "nowhere", "--model", str(snapshot), "--output", "o")
    assert_refused(outcome, "a download that has not finished")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere/model", "'/nowhere/model' does not exist"),
        ("./nowhere", "does not exist"),
        ("https://huggingface.co/owner/name", "is a page of the Hub. Name the model alone: 'owner/name'"),
        ("huggingface.co/owner/name/tree/main", "Name the model alone: 'owner/name'"),
        ("hf://owner/name", "Name the model alone: 'owner/name'"),
        ("owner/name@main", "has a revision in its name. Pass --model owner/name --revision main"),
        ("{model}/../link", "is a link to gone, which does not exist. Name a directory that holds a model"),
        ("{model}/../packed.zip", "is an archive. Unpack it, and name the directory with its files"),
        ("{model}/model.safetensors", "is a file. Name the directory that holds it"),
        ("{bundle}", "is a bundle, whose ONNX files cannot be trained"),
    ],
)
def test_a_path_that_is_no_model_is_named(model: Path, path: str, words: str) -> None:
    (model.parent / "link").symlink_to("gone")
    (model.parent / "packed.zip").touch()
    named = path.format(model=model, bundle=GOLDEN_BUNDLE)
    assert_refused(run_job("train_encoder", "--prepared", "p", "--model", named, "--output", "o"), words)


OTHER_READERS = {name: BROKEN[name] for name in ("a pointer of Git LFS for model.safetensors", "half of config.json")}


@pytest.mark.parametrize("name", OTHER_READERS)
def test_a_broken_model_that_judges_reviews_is_named_by_prepare(model: Path, name: str, settings: None) -> None:
    harm, words = OTHER_READERS[name]
    harm(model)
    flags = ("--input", "reviews.csv", "--model", "model", "--output", "prepared")
    assert_refused(run_job("prepare_reviews", *flags), words)


@pytest.fixture
def finished(tmp_path: Path, tiny_encoder: Path) -> Path:
    """What a training leaves, as far as an export and a training that goes on read it at first."""
    run = tmp_path / "run"
    shutil.copytree(tiny_encoder, run / "attempts/1/epoch-1")
    values = {
        "fingerprint": "f", "labels": ["bad", "good"], "best": {"checkpoint": "attempts/1/epoch-1"}, "base_model": None,
        "config": {"prepared": "p", "model": "m", "max_tokens": 8}, "made_from": {"prepared": "p"},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(values))
    return run


CHECKPOINT = "attempts/1/epoch-1"
BROKEN_RUNS: Cases = {
    "a pointer for the run": (written("run.json", POINTER), f"run.json is a {LFS}"),
    "half a run": (cut("run.json"), "run.json is cut off"),
    "an empty run": (written("run.json", b""), "run.json is empty. Write it again"),
    "zeros for the run": (written("run.json", bytes(500)), "run.json holds only zeros"),
    "another JSON": (
        written("run.json", b'{"a": 1}'),
        "run.json is not what train_encoder writes: fingerprint: Field req",
    ),
    "a run without a best checkpoint": (
        edited("run.json", lambda values: values.update(best=None)),
        "run.json is not what train_encoder writes: best",
    ),
    "a training that has not ended": (
        lambda path: [(path / "run.json").rename(path / "config.json")],
        "The training has not ended: give its command again",
    ),
    "prepared reviews": (directory_with("prepared.json"), "holds prepared reviews. Train on them"),
    "a model": (
        directory_with("config.json"),
        "is a model. Train it",
    ),
    "nothing": (shutil.rmtree, "does not exist. Name the output of train_encoder"),
    "a pointer for a checkpoint": (
        lambda path: written("model.safetensors", POINTER)(path / CHECKPOINT),
        f"model.safetensors is a {LFS}",
    ),
    "half a checkpoint": (lambda path: cut("model.safetensors")(path / CHECKPOINT), "model.safetensors is cut off"),
    "an adapter for a checkpoint": (
        lambda path: adapter(path / CHECKPOINT, with_config=True),
        "LoRA adapter.*merge_and_unload",
    ),
    "half a tokenizer in a checkpoint": (lambda path: cut("tokenizer.json")(path / CHECKPOINT), "tokenizer.json"),
}


@pytest.mark.parametrize("name", BROKEN_RUNS)
def test_a_broken_run_is_named_by_what_reads_runs(finished: Path, name: str, tmp_path: Path) -> None:
    harm, words = BROKEN_RUNS[name]
    harm(finished)
    assert_refused(run_job("export_bundle", "--run", str(finished), "--output", str(tmp_path / "bundle")), words)
    flags = ("--start-from", str(finished), "--prepared", "p", "--output", str(tmp_path / "next"))
    assert_refused(run_job("train_encoder", *flags), words)
    assert not (tmp_path / "bundle").exists()


BROKEN_BUNDLES: Cases = {
    **{
        f"a pointer of Git LFS for {name}": (written(name, POINTER), f"{name} is a {LFS}")
        for name in ("bundle.json", "tokenizer.json", "onnx/model.onnx")
    },
    "a web page for a file": (written("onnx/model.onnx", PAGE), "model.onnx is a web page"),
    "an empty file": (written("onnx/model.onnx", b""), "model.onnx is empty. Copy the bundle again"),
    "half a manifest": (cut("bundle.json"), "bundle.json is cut off"),
    "half a file": (
        cut("onnx/model.onnx"),
        "model.onnx is not the file that was exported .*bytes.*Copy the bundle again",
    ),
    "no manifest": (without("bundle.json"), "holds a model, not a bundle"),
    "a missing file": (without("tokenizer.json"), "tokenizer.json is missing. Copy the bundle again"),
    "a link": (
        lambda path: replaced("tokenizer.json", lambda link: link.symlink_to(path.parent / "elsewhere"))(path),
        "tokenizer.json is a symbolic link.*cp -rL",
    ),
    "a directory above": (moved("bundle"), "is no bundle, but holds one. Name it: .*/bundle"),
    "a run": (
        directory_with("run.json"),
        "holds a run, not a bundle",
    ),
    "a file": (lambda path: [shutil.rmtree(path), path.touch()], "is a file, not the directory of a bundle"),
    "nothing": (shutil.rmtree, "There is no bundle at"),
}


@pytest.mark.parametrize("name", BROKEN_BUNDLES)
def test_a_broken_bundle_is_named_by_what_reads_bundles(tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(GOLDEN_BUNDLE, bundle)
    harm, words = BROKEN_BUNDLES[name]
    harm(bundle)
    (tmp_path / "reviews.csv").write_text("text,label\ngood,positive\n")
    data = ("--input", str(tmp_path / "reviews.csv"), "--output", str(tmp_path / "report"))
    assert_refused(run_job("evaluate_bundle", "--bundle", str(bundle), *data), words)
    assert_refused(run_job(CLI, "predict", str(bundle), "good"), words)
    assert_refused(run_job(CLI, "serve", str(bundle), "--port", "0"), words)
    evaluate = {"bundle": str(bundle), "input": "reviews.csv", "output": "report"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in evaluate.items()]
    (tmp_path / "all.toml").write_text("\n".join(["[evaluate]", *lines]))
    assert_refused(run_job("pipeline", "--config", str(tmp_path / "all.toml")), words)
