"""One text crashes every process that scores it: it alone is quarantined, and all other rows are scored."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.chaos.conftest import Cluster, contents
from tests.chaos.saboteur import POISON
from tests.conftest import ROOT
from tests.score.outputs import list_parts

ROWS = 300


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    directory = tmp_path / "corpus"
    directory.mkdir()
    for name in ("a", "b"):
        texts = [f"this is text number {row} of {name}" for row in range(ROWS)]
        if name == "b":
            texts[123] = "this one is cyanide"
        parquet.write_table(pa.table({"text": texts}), directory / f"{name}.parquet", row_group_size=100)
    return directory


def test_a_row_that_crashes_its_process_is_quarantined_alone(
    two_nodes: Cluster, bundle: Path, poisoned: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scores"
    config = {
        "bundle": str(bundle), "input": str(poisoned), "output": str(output), "unit_rows": ROWS,
        "engine": "onnxruntime", "variant": "fp32",
    }  # fmt: skip
    two_nodes.add_node()
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos.driver", json.dumps([two_nodes.address, config])],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), POISON: "cyanide"},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert (result["rows_scored"], result["rows_quarantined"]) == (2 * ROWS - 1, 1)
    (row,) = parquet.read_table(output / "_quarantine/b.parquet").to_pylist()
    assert (row["row"], row["reason"]) == (123, "scoring this text crashes the process")
    assert list_parts(output)["b.parquet"].crashes <= 3 + math.log2(ROWS)
    texts = parquet.read_table(poisoned / "b.parquet")["text"].to_pylist()
    assert parquet.read_table(output / "b.parquet")["text"].to_pylist() == texts[:123] + texts[124:]
    assert set(contents(str(output))) == {"a.parquet", "b.parquet", "_quarantine/b.parquet"}
