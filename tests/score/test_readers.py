"""pandas, PyArrow, DuckDB and Spark read the scores, each in one line, and see the same rows."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from tests.score.outputs import list_parts

COLUMNS = (
    "review_id", "year", "sentiment_label", "sentiment_score", "sentiment_negative", "sentiment_neutral",
    "sentiment_positive", "sentiment_tokens", "sentiment_truncated",
)  # fmt: skip


def read_with_pandas(scores: Path) -> list[tuple[object, ...]]:
    """From the directory: pandas skips names that start with an underscore."""
    return list(pandas.read_parquet(scores)[list(COLUMNS)].itertuples(index=False, name=None))


def read_with_pyarrow(scores: Path) -> list[tuple[object, ...]]:
    """From the directory, with the kind of its partitions."""
    from pyarrow import dataset

    table = dataset.dataset(scores, partitioning="hive").to_table(columns=list(COLUMNS))
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


def read_with_duckdb(scores: Path) -> list[tuple[object, ...]]:
    """From a pattern without names that start with an underscore, which DuckDB would read."""
    import duckdb

    pattern = scores / "[!_]*/**/*.parquet"
    query = f"select {', '.join(COLUMNS)} from read_parquet('{pattern}', hive_partitioning = true)"
    with duckdb.connect() as connection:
        return connection.sql(query).fetchall()


SPARK = """
import json, sys
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
spark = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
with spark.getOrCreate() as session:
    rows = session.read.parquet(sys.argv[1]).select(*sys.argv[2:]).collect()
print(json.dumps([list(row) for row in rows]))
"""


def read_with_spark(scores: Path) -> list[tuple[object, ...]]:
    """From the directory, with one thread; in a separate process, because Spark forks its process."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or newer, and there is no java on the PATH")
    command = [sys.executable, "-c", SPARK, str(scores), *COLUMNS]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return [tuple(row) for row in json.loads(run.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def expected(scores: Path) -> list[tuple[object, ...]]:
    """The rows of the parts that the manifest names, read one by one; the year comes from the path."""
    rows: list[tuple[object, ...]] = []
    for part in list_parts(scores):
        frame = pandas.read_parquet(scores / part, partitioning=None)
        year = int(part.partition("year=")[2].partition("/")[0])
        rows.extend(frame.assign(year=year)[list(COLUMNS)].itertuples(index=False, name=None))
    return sorted(rows)  # type: ignore[type-var]


@pytest.mark.parametrize("read", [read_with_pandas, read_with_pyarrow, read_with_duckdb, read_with_spark])
def test_scores_are_read_whole_and_without_the_quarantine(
    scores: Path, expected: list[tuple[object, ...]], read: Callable[[Path], list[tuple[object, ...]]]
) -> None:
    assert (scores / "_quarantine").is_dir()
    rows = read(scores)
    assert len(rows) == json.loads((scores / "_MANIFEST.json").read_text())["rows_scored"]
    assert sorted(rows) == expected  # type: ignore[type-var]
