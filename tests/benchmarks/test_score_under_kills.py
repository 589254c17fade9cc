"""Rows that a killed job has lost or written twice are counted, and parts that cannot be read."""

import sys
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from score_under_kills import count_rows


def test_lost_and_doubled_rows_and_torn_files_are_counted(tmp_path: Path) -> None:
    corpus, output = tmp_path / "corpus", tmp_path / "scores"
    for path, ids in ((corpus / "a", range(10)), (output / "year=1/a", range(6)), (output / "b", [4, 5, 5, 7])):
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"id": list(ids)}), path.with_suffix(".parquet"))
    (output / "c.parquet").write_bytes(b"PAR1 and no more")
    (output / "_quarantine").mkdir()
    parquet.write_table(pa.table({"id": [9]}), output / "_quarantine/a.parquet")
    assert count_rows(output, corpus) == {"rows_lost": 3, "rows_doubled": 3, "files_torn": 1}
