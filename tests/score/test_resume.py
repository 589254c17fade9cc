"""A run is resumed where it stopped, by one driver at a time, and never with another bundle, keys or input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import hash_file
from sentiment_ray.output_lock import Lock, hold_lock, is_held
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.sample import compare_sample
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.verify import verify_scores
from sentiment_ray.storage import open_store
from tests.score.outputs import drop_receipt, list_parts, rewrite_as_earlier_release


@pytest.fixture
def copied(scores: Path, tmp_path: Path) -> Path:
    """A copy of the scores that a test may change."""
    return Path(shutil.copytree(scores, tmp_path / "scores"))


def _config(scores: Path, **changes: object) -> ScoreConfig:
    manifest = json.loads((scores / "_MANIFEST.json").read_text())
    return ScoreConfig(**({"output": str(scores)} | manifest["config"] | changes))


def _parts(scores: Path) -> dict[str, str]:
    return {str(path.relative_to(scores)): hash_file(path) for path in scores.rglob("year=*/*.parquet")}


def test_a_finished_run_does_nothing(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    assert score_reviews(_config(copied))["skipped"]
    automatic = {"engine": "auto", "variant": "auto", "tokens_per_batch": "auto"}
    assert score_reviews(_config(copied, **automatic))["skipped"], "auto keeps what the plan says"
    assert before == {path: path.stat().st_mtime_ns for path in copied.rglob("*")}


def test_only_missing_units_are_scored_again_with_the_same_bytes(copied: Path) -> None:
    config, before = _config(copied), _parts(copied)
    (copied / "_SUCCESS").unlink()
    first, second, *others = sorted(list_parts(copied))
    drop_receipt(copied, first)
    (copied / second).write_bytes(b"half")
    kept = {copied / name: (copied / name).stat().st_mtime_ns for name in others}
    assert not score_reviews(config.model_copy(update={"num_workers": 1}))["skipped"]
    assert _parts(copied) == before
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_a_finished_output_of_an_earlier_release_stays_as_it_is_and_an_unfinished_one_is_refused(
    copied: Path, bundle: Path
) -> None:
    rewrite_as_earlier_release(copied)
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in copied.rglob("*")}
    assert score_reviews(_config(copied))["skipped"]
    verified = verify_scores(str(copied))
    assert (verified["verified"], verified["files"]) == (
        True,
        len(json.loads((copied / "_MANIFEST.json").read_text())["files"]),
    )
    assert compare_sample(str(copied), str(bundle), rows=5)["sampled"] == 5
    after = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in copied.rglob("*")}
    assert before == after
    parts = _parts(copied)
    with pytest.raises(ConfigError, match="a run of an earlier release, whose plan is one document.*--restart"):
        score_reviews(_config(copied, repair=True))
    (copied / "_SUCCESS").unlink()
    with pytest.raises(ConfigError, match="a run of an earlier release, whose plan is one document.*--restart"):
        score_reviews(_config(copied))
    assert not score_reviews(_config(copied, restart=True))["skipped"]
    assert _parts(copied) == parts
    assert verify_scores(str(copied))["verified"]


def test_a_run_whose_rows_an_earlier_release_padded_otherwise_is_kept_if_finished_and_never_resumed(
    copied: Path,
) -> None:
    plan = json.loads((copied / "_plan/plan.json").read_text())
    del plan["bundle"]["padded_lengths"]
    (copied / "_plan/plan.json").write_text(json.dumps(plan))
    assert score_reviews(_config(copied))["skipped"]
    (copied / "_SUCCESS").unlink()
    with pytest.raises(ConfigError, match="scores of another release, which padded texts to other lengths.*--restart"):
        score_reviews(_config(copied))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ("review_id",)}, r"another configuration \(columns was \[\]"),
        ({"tokens_per_batch": 64}, "another configuration"),
        ({"variant": "optimized"}, r"another bundle \(variant was 'fp32' and is 'optimized'\)"),
    ],
)
def test_another_configuration_is_refused_by_name(copied: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}.*--restart"):
        score_reviews(_config(copied, **changes))


def test_a_changed_input_is_refused_by_name_and_replaced_on_request(copied: Path, corpus: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    config = _config(copied, input=str(moved), output=str(tmp_path / "out"))
    score_reviews(config)
    table = parquet.read_table(moved / "year=2024/reviews.parquet", partitioning=None)
    parquet.write_table(table.slice(0, 10), moved / "year=2024/reviews.parquet")
    with pytest.raises(ConfigError, match=r"another input \(.*year=2024/reviews.parquet has changed\)"):
        score_reviews(config)
    result = score_reviews(config.model_copy(update={"restart": True}))
    assert result["rows_in"] == 10 + len(parquet.read_table(moved / "year=2025/reviews.parquet", partitioning=None))
    assert not (tmp_path / "out/year=2024/reviews-00001.parquet").exists()


def test_an_input_that_cannot_be_scored_leaves_the_old_scores(copied: Path, tmp_path: Path) -> None:
    before = _parts(copied)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="None of 1 files can be scored"):
        score_reviews(_config(copied, input=str(tmp_path / "broken"), restart=True))
    assert _parts(copied) == before
    assert score_reviews(_config(copied))["skipped"]


def test_a_mistyped_column_leaves_no_trace(copied: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with pytest.raises(DataError, match="the column 'bodies' is missing .* None of 2 files can be scored"):
        score_reviews(_config(copied, text_column=("bodies",), restart=True))
    assert before == {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with pytest.raises(DataError, match="the column 'bodies' is missing"):
        score_reviews(_config(copied, text_column=("bodies",), output=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_brackets_in_a_path_are_no_pattern(copied: Path, tmp_path: Path, s3: str) -> None:
    output = tmp_path / "run[1]"
    assert not score_reviews(_config(copied, output=str(output)))["skipped"]
    assert verify_scores(str(output))["verified"]
    store = open_store(f"{s3}/brackets/run[1]")
    for name in ("a[1].parquet", "a1.parquet", "b[1]/c", "b1/c"):
        store.write(name, b"1")
    store.remove("a[1].parquet")
    store.remove("b[1]")
    assert list(store.list()) == ["a1.parquet", "b1/c"]


def test_an_output_that_holds_something_else_is_never_removed(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="already holds 'thesis.txt'"):
        score_reviews(_config(copied, output=str(other), restart=True))
    assert (other / "thesis.txt").exists()


def test_scores_without_a_plan_are_replaced_only_on_request(copied: Path) -> None:
    config = _config(copied)
    (copied / "_plan/plan.json").unlink()
    with pytest.raises(ConfigError, match="scores without a plan"):
        score_reviews(config)
    assert (copied / "_SUCCESS").exists()
    assert not score_reviews(config.model_copy(update={"restart": True}))["skipped"]


def test_a_second_run_on_the_same_output_is_refused(copied: Path) -> None:
    (copied / "_SUCCESS").unlink()
    with hold_lock(open_store(str(copied)), "scores"), pytest.raises(ConfigError, match="being written by another run"):
        score_reviews(_config(copied, wait=False))


def test_the_lock_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from sentiment_ray.output_lock import hold_lock; from sentiment_ray.storage import open_store\n"
        "with hold_lock(open_store(sys.argv[1]), 'scores') as lock: print(lock.owner, flush=True); os._exit(1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    owner = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ).stdout.strip()
    dead, store = Lock("_plan/lock-00001.json", owner), open_store(str(tmp_path))
    assert is_held(store, dead)
    with hold_lock(store, "scores") as lock:
        assert lock.name == "_plan/lock-00002.json"
        assert not is_held(store, dead)
    assert list(store.list()) == [lock.name]
    assert not is_held(store, lock)
    with hold_lock(store, "scores") as later:
        assert later.name == "_plan/lock-00003.json"


def test_of_runs_that_start_at_once_one_gets_the_lock(s3: str) -> None:
    store = open_store(f"{s3}/lock-race")
    assert [store.create("_plan/lock-00001.json", bytes([each])) for each in range(3)] == [True, False, False]
