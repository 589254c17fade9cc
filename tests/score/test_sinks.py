"""Parts become a Delta Lake or Iceberg table in place and exactly once, also after crashes and repetitions."""

import importlib.util
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError, MissingExtraError
from sentiment_ray.manifest import hash_file
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.scores_manifest import PartEntry
from sentiment_ray.score.sinks import check_sink, commit_to_sink
from sentiment_ray.score.verify import verify_scores
from sentiment_ray.storage import open_store
from tests.score.outputs import list_parts

IDENTITY = Identity({}, {}, make_file_table([]))
PLAN = Plan("a plan", IDENTITY)
ROWS = pa.table({"text": ["good", "bad"], "sentiment_score": pa.array([0.9, 0.8], pa.float32())})
ODD_NAMES = ("year=2024/city=New%20York/a b%20#.parquet", "year=2025/city=__HIVE_DEFAULT_PARTITION__/ü.parquet")


@pytest.fixture
def copied(scores: Path, tmp_path: Path) -> Path:
    """A copy of the scores that a test may change."""
    return Path(shutil.copytree(scores, tmp_path / "scores"))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, s3: str) -> Any:
    """A catalog in SQLite, described in the environment, which pyiceberg reads once: when it is imported."""
    directory = tmp_path_factory.mktemp("iceberg")
    settings = {
        "URI": f"sqlite:///{directory}/catalog.db",
        "WAREHOUSE": str(directory / "warehouse"),
        "S3__ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
    }
    os.environ.update({f"PYICEBERG_CATALOG__DEFAULT__{key}": value for key, value in settings.items()})
    from pyiceberg.catalog import load_catalog

    return load_catalog("default")


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A place on the object store, which Delta Lake is allowed to reach without TLS."""
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    yield f"{s3}/{tmp_path.name}"


def _config(scores: Path, **changes: object) -> ScoreConfig:
    manifest = json.loads((scores / "_MANIFEST.json").read_text())
    return ScoreConfig(**({"output": str(scores)} | manifest["config"] | changes))


def _commit(
    output: str, tables: dict[str, pa.Table], sink: str, *, table: str = "tests.small", plan: Plan = PLAN
) -> None:
    store, parts = open_store(output), []
    for name, rows in tables.items():
        buffer = pa.BufferOutputStream()
        parquet.write_table(rows, buffer)
        store.fs.makedirs(store.path(name).rpartition("/")[0], exist_ok=True)
        store.write(name, buffer.getvalue().to_pybytes())
        parts.append(PartEntry(name, len(rows), len(rows), 0, buffer.getvalue().size, ""))
    config = ScoreConfig(bundle="-", input="-", output=output, sink=sink, iceberg_table=table)
    commit_to_sink(store, config, plan.fingerprint, parts)


def _parts(scores: Path) -> dict[str, str]:
    return {str(path.relative_to(scores)): hash_file(path) for path in scores.rglob("year=*/*.parquet")}


def _rows_by_year(scores: Path) -> Counter[int]:
    manifest = json.loads((scores / "_MANIFEST.json").read_text())
    years: Counter[int] = Counter()
    for part, receipt in list_parts(scores).items():
        years[int(part.partition("/")[0].removeprefix("year="))] += receipt.rows
    assert years.total() == manifest["rows_scored"]
    return years


def test_a_finished_output_becomes_a_delta_table_without_a_byte_written_again(copied: Path) -> None:
    before, config = _parts(copied), _config(copied, sink="delta")
    assert not score_reviews(config)["skipped"]
    table = DeltaTable(str(copied))
    found = table.to_pyarrow_table()
    assert Counter(found["year"].to_pylist()) == _rows_by_year(copied)
    assert set(found.column_names) >= {"review_id", "body", "sentiment_label", "sentiment_score", "year"}
    assert _parts(copied) == before
    assert verify_scores(str(copied))["verified"]
    assert score_reviews(config)["skipped"]
    assert score_reviews(_config(copied, sink="parquet"))["skipped"]
    assert DeltaTable(str(copied)).version() == 0


def test_a_run_that_crashed_before_its_manifest_adds_no_row_twice(copied: Path) -> None:
    config = _config(copied, sink="delta")
    score_reviews(config)
    for name in ("_SUCCESS", "_MANIFEST.json"):
        (copied / name).unlink()
    assert not score_reviews(config)["skipped"]
    assert len(DeltaTable(str(copied)).to_pyarrow_table()) == _rows_by_year(copied).total()
    assert verify_scores(str(copied))["verified"]


def test_restart_replaces_a_table_with_its_parts(copied: Path) -> None:
    score_reviews(_config(copied, sink="delta"))
    score_reviews(_config(copied, sink="delta", columns=("review_id",), restart=True))
    found = DeltaTable(str(copied)).to_pyarrow_table()
    assert "stars" not in found.column_names
    assert len(found) == _rows_by_year(copied).total()
    score_reviews(_config(copied, sink="parquet", columns=(), restart=True))
    assert not DeltaTable.is_deltatable(str(copied))
    assert verify_scores(str(copied))["verified"]


def test_an_iceberg_table_holds_the_parts_of_several_outputs_each_once(
    copied: Path, tmp_path: Path, catalog: Any
) -> None:
    other = Path(shutil.copytree(copied, tmp_path / "other"))
    before = _parts(copied)
    for output in (copied, other, copied):
        score_reviews(_config(output, sink="iceberg", iceberg_table="reviews.scores"))
    for name in ("_SUCCESS", "_MANIFEST.json"):
        (other / name).unlink()
    score_reviews(_config(copied, output=str(other)))
    table = catalog.load_table("reviews.scores")
    years = _rows_by_year(copied)
    assert Counter(table.scan().to_arrow()["year"].to_pylist()) == years + years
    assert len(table.scan(row_filter="year = 2024").to_arrow()) == 2 * years[2024]
    assert len(table.snapshots()) == 2
    assert _parts(copied) == before
    score_reviews(_config(copied, columns=("review_id",), restart=True))
    found = catalog.load_table("reviews.scores").scan().to_arrow()
    assert Counter(found["year"].to_pylist()) == years + years
    assert found["body"].null_count == years.total()
    assert verify_scores(str(copied))["verified"]


@pytest.mark.parametrize("sink", ["delta", "iceberg"])
def test_paths_keep_their_partitions_whatever_their_names(sink: str, tmp_path: Path, catalog: Any) -> None:
    output = str(tmp_path / "out of #1")
    for _ in range(2):
        _commit(output, dict.fromkeys(ODD_NAMES, ROWS), sink, table="tests.odd")
    found = (
        DeltaTable(output).to_pyarrow_table() if sink == "delta" else catalog.load_table("tests.odd").scan().to_arrow()
    ).to_pylist()
    places = Counter((row["year"], row["city"], row["text"]) for row in found)
    assert places == Counter((*place, text) for place in [(2024, "New York"), (2025, None)] for text in ("good", "bad"))


@pytest.mark.parametrize("sink", ["delta", "iceberg"])
def test_parts_on_an_object_store_become_a_table(sink: str, bucket: str, catalog: Any) -> None:
    for _ in range(2):
        _commit(bucket, {"year=2024/a.parquet": ROWS, "year=2025/a.parquet": ROWS}, sink, table="tests.bucket")
    found = (
        DeltaTable(bucket).to_pyarrow_table()
        if sink == "delta"
        else catalog.load_table("tests.bucket").scan().to_arrow()
    )
    assert Counter(found["year"].to_pylist()) == {2024: 2, 2025: 2}


def test_a_compacted_iceberg_table_is_refused(tmp_path: Path, catalog: Any) -> None:
    """Its rows are in files of another name, so a run that replaces its parts would add each row a second time."""
    output, files = str(tmp_path), {"a.parquet": ROWS, "b.parquet": ROWS}
    _commit(output, files, "iceberg", table="tests.compacted")
    table = catalog.load_table("tests.compacted")
    table.overwrite(table.scan().to_arrow())
    _commit(output, files, "iceberg", table="tests.compacted")
    with pytest.raises(DataError, match="no longer has 2 of the 2 files .* compacted or rolled back"):
        _commit(output, files, "iceberg", table="tests.compacted", plan=Plan("another plan", IDENTITY))
    assert len(catalog.load_table("tests.compacted").scan().to_arrow()) == 2 * len(ROWS)


NUMBERED = pa.schema([pa.field("text", pa.string(), metadata={"PARQUET:field_id": "7"}), ROWS.schema.field(1)])


@pytest.mark.parametrize("sink", ["delta", "iceberg"])
@pytest.mark.parametrize(
    ("tables", "found"),
    [
        ({"a.parquet": ROWS, "b.parquet": ROWS.drop(["text"])}, "b.parquet: column 'text' is missing here and string"),
        ({"a.parquet": ROWS, "b.parquet": ROWS.append_column("x", [[1, 2]])}, "column 'x' is int64 here and missing"),
        ({"day=1/a.parquet": ROWS, "b.parquet": ROWS}, "b.parquet is partitioned by nothing, day=1/a.parquet by day"),
        ({"a.parquet": ROWS.append_column("at", pa.array([[1], [2]], pa.list_(pa.time64("ns"))))}, "'at'"),
    ],
    ids=["fewer columns", "more columns", "other partitions", "foreign type"],
)
def test_parts_that_do_not_fit_one_table_are_refused_by_name(
    sink: str, tables: dict[str, pa.Table], found: str, tmp_path: Path, catalog: Any
) -> None:
    with pytest.raises(DataError, match=f"{found}.*--sink parquet"):
        _commit(str(tmp_path), tables, sink, table="tests.refused")
    assert not (tmp_path / "_delta_log").exists()
    assert not catalog.table_exists("tests.refused")


def test_tables_that_are_not_for_these_parts_are_refused(tmp_path: Path, catalog: Any) -> None:
    _commit(str(tmp_path / "first"), {"a.parquet": ROWS}, "iceberg", table="tests.flat")
    for tables, found in (
        ({"day=1/a.parquet": ROWS}, "its partitions are none, but the parts also have 'day'"),
        ({"a.parquet": ROWS.append_column("x", [[1, 2]])}, "more columns: x"),
        ({"a.parquet": ROWS.cast(NUMBERED)}, "'text' carries the field id of another table"),
    ):
        with pytest.raises(DataError, match=found):
            _commit(str(tmp_path / "second"), tables, "iceberg", table="tests.flat")
    assert len(catalog.load_table("tests.flat").scan().to_arrow()) == len(ROWS)
    _commit(str(tmp_path / "delta"), {"a.parquet": ROWS}, "delta")
    with pytest.raises(DataError, match="a Delta table that another run made"):
        commit_to_sink(
            open_store(str(tmp_path / "delta")),
            ScoreConfig(bundle="-", input="-", output=str(tmp_path / "delta"), sink="delta"),
            "another plan",
            [PartEntry("a.parquet", 2, 2, 0, 1, "")],
        )


def test_a_sink_that_cannot_work_is_refused_before_anything_is_scored(
    tmp_path: Path, catalog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"bundle": "missing", "input": "missing", "output": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match="iceberg_catalog = 'nowhere'.*PYICEBERG_CATALOG__NOWHERE__URI"):
        score_reviews(ScoreConfig(**keys, sink="iceberg", iceberg_table="a.b", iceberg_catalog="nowhere"))
    with pytest.raises(ValueError, match="Pass --iceberg-table"):
        ScoreConfig(**keys, sink="iceberg", iceberg_table="scores")
    with pytest.raises(ConfigError, match="cannot keep a table below a name with a %"):
        check_sink(ScoreConfig(**keys | {"output": "/tmp/100%"}, sink="delta"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deltalake" else find(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'sentiment-ray\[delta\]'"):
        score_reviews(ScoreConfig(**keys, sink="delta"))
    assert not (tmp_path / "out").exists()
