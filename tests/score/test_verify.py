"""Every change of a finished output is detected."""

import random
import shutil
from pathlib import Path

import pytest

from sentiment_ray.errors import DataError, GateError
from sentiment_ray.score import sample
from sentiment_ray.score.sample import compare_sample
from sentiment_ray.score.verify import find_problems, verify_scores
from sentiment_ray.storage import open_store

CHANGES = 500


def _flip(path: Path, generator: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def _tamper(kind: str, files: list[Path], generator: random.Random) -> None:
    path = generator.choice(files)
    other = generator.choice([file for file in files if file.read_bytes() != path.read_bytes()])
    if kind == "flip":
        _flip(path, generator)
    elif kind == "delete":
        path.unlink()
    elif kind == "add":
        (path.parent / f"added-{generator.random()}.parquet").write_bytes(other.read_bytes())
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)


def test_every_change_is_found(scores: Path, tmp_path: Path) -> None:
    generator = random.Random(3)
    every = [path for path in scores.rglob("*") if path.is_file() and not path.name.startswith("lock-")]
    originals = {path.relative_to(scores): path.read_bytes() for path in every}
    copy = Path(shutil.copytree(scores, tmp_path / "scores"))
    missed = []
    for number in range(CHANGES):
        kind = ("flip", "delete", "add", "cut", "swap")[number % 5]
        _tamper(kind, [copy / name for name in originals], generator)
        if next(find_problems(open_store(str(copy))), None) is None:
            missed.append((number, kind))
        for path in copy.rglob("*"):
            if path.is_file() and path.relative_to(copy) not in originals and not path.name.startswith("lock-"):
                path.unlink()
        for name, data in originals.items():
            if not (copy / name).is_file() or (copy / name).read_bytes() != data:
                (copy / name).write_bytes(data)
    assert missed == []
    assert verify_scores(str(copy))["verified"]


def test_the_lock_of_a_run_that_crashed_after_its_last_step_is_not_a_change(scores: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scores, tmp_path / "scores"))
    (copy / "_plan/lock-00002.json").write_text("{}")
    assert verify_scores(str(copy))["verified"]
    (copy / "_plan/lock-of-mine.json").write_text("{}")
    with pytest.raises(DataError, match="lock-of-mine.json is not in the manifest"):
        verify_scores(str(copy))


def test_a_change_is_named(scores: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scores, tmp_path / "scores"))
    (copy / "year=2024/reviews-00000.parquet").unlink()
    with pytest.raises(DataError, match="year=2024/reviews-00000.parquet is missing"):
        verify_scores(str(copy))


def test_a_sample_agrees_with_fresh_predictions_of_single_rows(scores: Path, bundle: Path) -> None:
    result = compare_sample(str(scores), str(bundle), rows=40)
    assert result["sampled"] == 40
    assert result["largest_difference"] < 1e-4


def test_a_sample_detects_scores_of_other_texts(scores: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_texts = sample._read_texts
    monkeypatch.setattr(sample, "_read_texts", lambda *arguments: read_texts(*arguments)[::-1])
    with pytest.raises(GateError, match="fresh prediction"):
        compare_sample(str(scores), str(bundle), rows=200)
