"""Every row is written once: with equal part names, changed inputs, inputs in the output, and damaged bytes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.manifest import hash_file
from sentiment_ray.output_lock import hold_lock, is_held
from sentiment_ray.score.chunks import count_row_bytes
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.plan import name_parts, parse_unit
from sentiment_ray.score.reading import open_parquet
from sentiment_ray.score.score import list_corpus, score_reviews
from sentiment_ray.score.verify import verify_scores
from sentiment_ray.storage import open_store

TEXTS = [f"a day number {number} that was good" for number in range(12)]


@pytest.fixture
def settings(bundle: Path, tmp_path: Path, ray_cluster: None) -> dict[str, Any]:
    return {"bundle": str(bundle), "output": str(tmp_path / "out"), "engine": "onnxruntime", "variant": "fp32"}


def _file(name: str) -> InputFile:
    return InputFile(f"/in/{name}", name, 1, "v")


def test_no_two_parts_have_the_same_name() -> None:
    units = {"a": 1, "a.parquet": 1, "b.parquet": 1, "B.parquet": 2, "c": 3, "c-00001.parquet": 1, "d.parquet": 1}
    names = {file: list(own) for file, own in name_parts({_file(name): units[name] for name in units}).items()}
    every = [name.casefold() for own in names.values() for name in own]
    assert len(set(every)) == len(every) == sum(units.values())
    assert names[_file("d.parquet")] == ["d.parquet"]
    assert names[_file("a.parquet")] == ["a--00001.parquet"]  # c-00001.parquet is a file's own name


def test_files_that_differ_only_in_their_ending_are_both_scored(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for start, name in enumerate(("a", "a.parquet")):
        parquet.write_table(pa.table({"text": TEXTS[start::2]}), tmp_path / "in" / name)
    result = score_reviews(ScoreConfig(input=str(tmp_path / "in/*"), **settings))
    assert (result["rows_in"], result["rows_scored"], result["parts"]) == (12, 12, 2)
    texts = [
        text for path in (tmp_path / "out").glob("*.parquet") for text in parquet.read_table(path)["text"].to_pylist()
    ]
    assert sorted(texts) == sorted(TEXTS)


@pytest.mark.parametrize("location", ["out/*.parquet", "out/reviews.parquet", "out/year=1"])
def test_an_input_in_the_output_is_refused(location: str, tmp_path: Path) -> None:
    for path in (tmp_path / "out/reviews.parquet", tmp_path / "out/year=1/reviews.parquet"):
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"text": TEXTS}), path)
    with pytest.raises(ConfigError, match="lies inside the output"):
        list_corpus(str(tmp_path / location), str(tmp_path / "out"))


def test_damaged_files_are_scored_again_with_repair(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        parquet.write_table(pa.table({"text": TEXTS}), tmp_path / f"in/{name}.parquet")
    config, out = ScoreConfig(input=str(tmp_path / "in"), **settings), tmp_path / "out"
    score_reviews(config)
    before = {path.name: hash_file(path) for path in out.glob("*.parquet")}
    again = config.model_copy(update={"repair": True})
    assert score_reviews(again)["skipped"]
    data = bytearray((out / "a.parquet").read_bytes())
    data[100] ^= 1
    (out / "a.parquet").write_bytes(bytes(data))
    with pytest.raises(DataError):
        verify_scores(str(out))
    kept = (out / "b.parquet").stat().st_mtime_ns
    assert not score_reviews(again)["skipped"]
    assert {path.name: hash_file(path) for path in out.glob("*.parquet")} == before
    assert (out / "b.parquet").stat().st_mtime_ns == kept
    assert verify_scores(str(out))
    (out / "_report.html").unlink()
    (out / "b.parquet").unlink()
    assert not score_reviews(again)["skipped"]
    assert verify_scores(str(out))


@pytest.mark.parametrize("content", ["{half a pl", '{"units": 3}', "[]"])
def test_an_unreadable_plan_is_replaced_with_restart(settings: dict[str, Any], tmp_path: Path, content: str) -> None:
    parquet.write_table(pa.table({"text": TEXTS}), tmp_path / "in.parquet")
    config = ScoreConfig(input=str(tmp_path / "in.parquet"), **settings)
    score_reviews(config)
    (tmp_path / "out/_plan/plan.json").write_text(content)
    with pytest.raises(DataError, match="Pass --restart to begin again"):
        score_reviews(config)
    assert score_reviews(config.model_copy(update={"restart": True}))["rows_scored"] == 12


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"text": TEXTS}), path)
    (file,) = list_corpus(str(path), str(tmp_path / "out")).files
    unit = {"path": str(path), "version": file.version, "part": "in.parquet", "row_groups": [0], "group_rows": [12]}
    with (
        pytest.raises(DataError, match="has changed since the plan was made"),
        open_parquet(parse_unit(unit | {"first_row": 0})),
    ):
        parquet.write_table(pa.table({"text": TEXTS[:3]}), path)


def test_a_dictionary_with_as_many_values_as_its_index_type_holds_is_measured() -> None:
    words = pa.array([f"word {number}" for number in range(128)])
    column = pa.DictionaryArray.from_arrays(pa.array([*range(128), None], pa.int8()), words)
    row_bytes = count_row_bytes(pa.record_batch([column], names=["text"]))
    assert row_bytes.tolist() == [*(len(word) for word in words.to_pylist()), 0]


def test_a_lock_that_is_written_again_after_its_removal_is_lost(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with hold_lock(store, "scores") as first:
        content = store.read(first.name)
        taken = first.name.replace("00001", "00003")
        store.write(taken, json.dumps({"owner": "another"}).encode())
        store.remove(first.name)
        store.write(first.name, content)  # a renewal that hung
        assert not is_held(store, first)


@pytest.mark.parametrize("name", ["rows", "uncertain_share", "mean_positive"])
def test_group_by_the_name_of_an_output_column_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is also the name of another column in _groups"):
        ScoreConfig(bundle="b", input="i", output="o", group_by=name)


def test_rows_are_grouped_by_categories_but_not_by_lists(settings: dict[str, Any], tmp_path: Path) -> None:
    keys = pa.array(["x", "y", None] * 4).dictionary_encode()
    parquet.write_table(pa.table({"text": TEXTS, "shop": keys, "tags": [["a"]] * 12}), tmp_path / "in.parquet")
    config = ScoreConfig(input=str(tmp_path / "in.parquet"), **settings)
    score_reviews(config.model_copy(update={"group_by": "shop"}))
    groups = parquet.read_table(tmp_path / "out/_groups/groups.parquet").to_pylist()
    assert {row["shop"]: row["rows"] for row in groups} == {"x": 4, "y": 4, None: 4}
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ConfigError, match="group_by = 'tags': the column is list"):
        score_reviews(config.model_copy(update={"group_by": "tags"}))
