"""A run that is replaced stays whole until the new one is, also when the new training or the process fails."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import LOCK_DIRECTORY, find_finished_result, hash_file, read_json, write_json
from sentiment_ray.output_lock import hold_local_lock
from sentiment_ray.train import trainer
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.run_directory import finish_replacement, keep_only_progress, name_next, replace_result
from sentiment_ray.train.trainer import train_encoder

NAMES = ("metrics.jsonl", "tensorboard", "attempts", "config.json")


def _list(output: Path) -> dict[str, str]:
    return {str(path.relative_to(output)): path.read_text() for path in output.rglob("*") if path.is_file()}


def _write_result(directory: Path, content: str, *names: str) -> None:
    for name in (*names, "attempts/1/epoch-1/weights", "config.json", "run.json"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)


def _expected() -> dict[str, str]:
    names = ("metrics.jsonl", "attempts/1/epoch-1/weights", "config.json", "run.json")
    return dict.fromkeys(names, "new") | {"notes.txt": "mine"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output with an older result, a whole new one, an unfinished one, and a person's file."""
    output = tmp_path / "run"
    _write_result(output, "old", "tensorboard/events", "attempts/1/epoch-2/weights")
    _write_result(name_next(output, "b" * 64), "new", "metrics.jsonl")
    _write_result(name_next(output, "a" * 64), "unfinished")
    (name_next(output, "a" * 64) / "run.json").unlink()
    (output / "notes.txt").write_text("mine")
    return output


def test_a_new_result_takes_the_place_of_the_older_one_and_of_nothing_else(output: Path) -> None:
    replace_result(output, "run.json", NAMES)
    assert _list(output) == _expected()
    replace_result(output, "run.json", NAMES)
    assert _list(output) == _expected()


@pytest.mark.parametrize("num_steps", range(8))
def test_a_replacement_that_a_crash_cut_short_is_finished(
    output: Path, num_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def crash_later(function: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > num_steps:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", crash_later(Path.rename))
        patch.setattr(Path, "unlink", crash_later(Path.unlink))
        replace_result(output, "run.json", NAMES)
    # At no moment does run.json speak of files that are gone.
    if (output / "run.json").exists():
        assert (output / "attempts/1/epoch-1/weights").read_text() == (output / "run.json").read_text()
    finish_replacement(output, "run.json", NAMES)
    assert _list(output) == _expected()


def test_a_directory_on_another_disk_stays_there(output: Path, tmp_path: Path) -> None:
    shutil.move(output / "attempts", tmp_path / "disk")
    (output / "attempts").symlink_to(tmp_path / "disk")
    replace_result(output, "run.json", NAMES)
    assert (output / "attempts").is_symlink()
    assert _list(tmp_path / "disk") == {"1/epoch-1/weights": "new"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ConfigError])
@pytest.mark.parametrize("has_progress", [True, False])
def test_a_new_result_that_fails_is_kept_only_when_there_is_progress(
    output: Path, error: type[BaseException], has_progress: bool
) -> None:
    directory = name_next(output, "a" * 64)
    with pytest.raises(error), keep_only_progress(directory, output, has_progress=lambda: has_progress):
        raise error("stop")
    assert directory.exists() == has_progress
    assert (output / "run.json").read_text() == "old"


def _config(run: Path, **changes: Any) -> TrainConfig:
    keys = read_json(run / "run.json")["config"] | {"output": str(run), "num_workers": 1, "restart": True}
    return TrainConfig(**keys | changes)


@pytest.fixture
def copied_run(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def _hash_all(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): hash_file(path) for path in run.rglob("*") if path.is_file()}


def test_a_training_that_fails_leaves_the_run_that_it_would_replace(
    copied_run: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _hash_all(copied_run)
    seen = []

    def fail(config: TrainConfig, directory: Path, *rest: Any) -> None:
        (directory / "attempts/1").mkdir(parents=True)
        seen.append(directory)
        with pytest.raises(ConfigError, match="is being written by another run"):
            train_encoder(_config(copied_run, epochs=1, seed=6))
        raise RuntimeError("the worker ran out of memory")

    monkeypatch.setattr(trainer, "train_until_finished", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train_encoder(_config(copied_run, epochs=1, seed=5))
    assert len(seen) == 1 and seen[0].parent == copied_run
    assert "is kept until the new one" in capsys.readouterr().err
    assert _hash_all(copied_run) == before
    assert train_encoder(_config(copied_run, num_workers=2))["skipped"]


def test_an_unfinished_run_with_checkpoints_is_kept_as_well(
    copied_run: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(copied_run, epochs=1, seed=5)
    (copied_run / "run.json").unlink()
    before = _hash_all(copied_run)

    def fail(*arguments: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(trainer, "train_until_finished", fail)
    with pytest.raises(RuntimeError):
        train_encoder(config)
    assert _hash_all(copied_run) == before


@pytest.mark.parametrize(("cpus_before", "num_threads"), [(None, 1), (1.5, 4)])
def test_a_run_that_resumes_keeps_its_batches_and_its_threads_unless_its_cpus_are_changed(
    copied_run: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch, cpus_before: float | None, num_threads: int
) -> None:
    """A release may choose batches in another way. Another number of threads gives weights with other last bits."""
    config = _config(copied_run, num_workers=2, restart=False, cpus_per_worker=None)
    (copied_run / "run.json").unlink()
    plan = read_json(copied_run / "config.json")
    changes = {
        "chosen": {"num_threads": 1, "tokens_per_batch": 77},
        "config": plan["config"] | {"cpus_per_worker": cpus_before},
    }
    write_json(copied_run / "config.json", plan | changes)
    seen = []

    def note(*arguments: Any) -> None:
        seen.append((arguments[0].tokens_per_batch, arguments[-1]))
        raise RuntimeError

    monkeypatch.setattr(trainer, "train_until_finished", note)
    monkeypatch.setattr(trainer, "cpus_per_worker", lambda config: 4.0)  # a larger cluster than that of the first start
    with pytest.raises(RuntimeError):
        train_encoder(config)
    assert seen == [(77, num_threads)]
    chosen = read_json(copied_run / "config.json")["chosen"]
    assert (chosen["tokens_per_batch"], chosen["num_threads"]) == (77, num_threads)


def test_a_run_is_replaced_when_the_new_one_has_ended(copied_run: Path, run: Path, ray_cluster: None) -> None:
    result = train_encoder(_config(copied_run, epochs=1, seed=5))
    manifest = read_json(copied_run / "run.json")
    assert (manifest["config"]["seed"], manifest["config"]["epochs"], len(manifest["history"])) == (5, 1, 1)
    assert (copied_run / result["best"]["checkpoint"] / "model.safetensors").is_file()
    assert {path.name for path in copied_run.iterdir()} == {path.name for path in run.iterdir()}
    assert [path.name for path in copied_run.glob("attempts/*/*")] == ["epoch-1"]


def test_a_lock_that_a_killed_process_left_is_no_foreign_file(tmp_path: Path) -> None:
    (tmp_path / LOCK_DIRECTORY / "_plan").mkdir(parents=True)
    assert find_finished_result(tmp_path, "run.json", "new", restart=False, own_files=None) is None


def test_a_local_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "run" / LOCK_DIRECTORY
    with hold_local_lock(directory, tmp_path / "run"):
        assert directory.is_dir()
        refused = pytest.raises(ConfigError, match="is being written by another run")
        with refused, hold_local_lock(directory, tmp_path / "run"):
            pass
        assert directory.is_dir()
    assert list((tmp_path / "run").iterdir()) == []
