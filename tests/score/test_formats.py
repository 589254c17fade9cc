"""The files of an output keep their names and keys, so that another release can resume and read it."""

import json
from pathlib import Path

import pytest

from sentiment_ray.score import report
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.output_names import PLAN_NAME, name_receipt
from sentiment_ray.score.plan import Plan, Unit, read_plan, write_plan
from sentiment_ray.score.receipts import Receipt, read_receipt, write_receipt
from sentiment_ray.storage import file_info, open_store

PLAN = (
    '{"fingerprint": "f0", "wanted": {"bundle": {}, "settings": {}, "files": []}, "units": [{"path": "/in/a.parquet", '
    '"version": "1.5", "part": "a.parquet", "row_groups": [0, 1], "group_rows": [50, 7], "first_row": 0}], '
    '"bad_files": [{"path": "/in/b.parquet", "rows": 3, "reason": "not a Parquet file"}]}'
)
RECEIPT = (
    '{"fingerprint": "f0", "part": "a.parquet", "input": "/in/a.parquet", "first_row": 0, "rows_in": 57, "rows": 56, '
    '"rows_quarantined": 1, "reasons": {"text is null": 1}, "duplicates": 2, "profile": {"rows": 56}, '
    '"files": {"a.parquet": {"bytes": 4, "sha256": "00"}}, "crashes": 0, "worker": "host:1", "started_at": 1.5, '
    '"seconds": 0.5}'
)


def test_a_plan_is_read_and_written_with_the_same_bytes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(PLAN_NAME, PLAN.encode())
    plan = read_plan(store)
    assert isinstance(plan, Plan)
    assert plan.num_rows == 60
    write_plan(store, plan)
    assert store.read(PLAN_NAME).decode() == PLAN


def test_a_receipt_is_read_and_written_with_the_same_bytes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a.parquet", b"PAR1")
    store.write(name_receipt("a.parquet"), RECEIPT.encode())
    unit = Unit("/in/a.parquet", "1.5", "a.parquet", (0, 1), (50, 7), 0)
    receipt = read_receipt(store, unit, "f0")
    assert isinstance(receipt, Receipt)
    write_receipt(store, receipt)
    assert store.read(name_receipt("a.parquet")).decode() == RECEIPT


@pytest.mark.parametrize("changes", [{"fingerprint": "f1"}, {"first_row": 50}, {"input": "/in/b.parquet"}])
def test_a_receipt_of_another_plan_or_unit_is_not_valid(changes: dict[str, object], tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a.parquet", b"PAR1")
    store.write(name_receipt("a.parquet"), json.dumps(json.loads(RECEIPT) | changes).encode())
    assert read_receipt(store, Unit("/in/a.parquet", "1.5", "a.parquet", (0, 1), (50, 7), 0), "f0") is None


def test_a_receipt_that_lacks_a_key_is_not_valid(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(name_receipt("a.parquet"), b'{"fingerprint": "f0", "part": "a.parquet"}')
    assert read_receipt(store, Unit("/in/a.parquet", "1.5", "a.parquet", (0, 1), (50, 7), 0), "f0") is None


def test_the_old_name_of_the_cache_key_is_read() -> None:
    config = ScoreConfig.model_validate({"bundle": "b", "input": "i", "output": "o", "remembered_texts": 7})
    assert config.max_cached_texts == 7


def test_the_version_of_a_file_without_a_tag_or_a_time_is_its_size() -> None:
    assert file_info({"size": 7}).version != file_info({"size": 8}).version
    assert file_info({"size": 7, "ETag": "a"}).version == "a"
    assert file_info({"size": 7}).version


def test_times_of_the_report_are_in_utc() -> None:
    assert report._format_time(0) == "1970-01-01 00:00:00 UTC"
