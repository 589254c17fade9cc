"""Every stage that set rows aside below its bound says so, with the same words, also when its result is reused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.situations.run_job import run_job


@pytest.mark.usefixtures("ray_cluster")
def test_scoring_warns_about_rows_without_text(scores: Path, corpus: Path, bundle: Path) -> None:
    flags = ("--unit-rows", "100", "--num-workers", "2", "--engine", "onnxruntime", "--variant", "fp32")
    source = ("--bundle", str(bundle), "--input", str(corpus), "--text-column", "body")
    actual = run_job("score_reviews", *source, *flags, "--output", str(scores))
    assert (actual.exit_code, actual.result["skipped"]) == (0, True), actual.stderr
    num_rows = actual.result["rows_in"]
    assert actual.warning_lines == [
        f"warning: Set aside 3 of {num_rows} rows (text is empty: 2, text is null: 1). See {scores}/_quarantine."
    ]


def test_evaluation_warns_about_rows_without_label(bundle: Path, tmp_path: Path) -> None:
    table = pa.table(
        {"text": ["tea", "cake", "soup"] * 20, "label": ["neutral", "positive", "negative"] * 19 + [None] * 3}
    )
    pq.write_table(table, tmp_path / "in.parquet")
    flags = ("--engine", "onnxruntime", "--variant", "fp32", "--attributions", "0")
    command = ("--bundle", str(bundle), "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out"))
    for is_again in (False, True):
        actual = run_job("evaluate_bundle", *command, *flags)
        assert (actual.exit_code, actual.result["skipped"]) == (0, is_again), actual.stderr
        assert actual.warning_lines == [
            f"warning: Set aside 3 of 60 rows (label is null: 3). The first is in {tmp_path}/in.parquet, row 57. "
            f"They are counted in {tmp_path}/out/evaluation.json."
        ]
