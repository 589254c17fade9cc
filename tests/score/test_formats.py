"""The files of an output keep their names and keys, so that another release can resume and read it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sentiment_ray.errors import DataError
from sentiment_ray.file_versions import make_file_info
from sentiment_ray.manifest import fingerprint
from sentiment_ray.score import plan as plan_module
from sentiment_ray.score import report
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.identity import Identity, fingerprint_run, has_same_identity, make_file_table
from sentiment_ray.score.output_names import PLAN_NAME, name_receipt
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import BadFile, NewPlan, Plan, Unit, make_unit_tables
from sentiment_ray.score.plan_file import UnitReader, read_plan, write_plan
from sentiment_ray.score.receipts import Receipt, read_bare_receipt, write_receipt
from sentiment_ray.storage import Store, open_store

OLD_PLAN = (
    '{"fingerprint": "f0", "wanted": {"bundle": {"bundle_id": "b"}, "settings": {}, "files": [{"path": "/in/a.parquet",'
    ' "name": "a.parquet", "bytes": 7, "version": ""}]}, "units": [{"path": "/in/a.parquet", '
    '"version": "1.5", "part": "a.parquet", "row_groups": [0, 1], "group_rows": [50, 7], "first_row": 0}], '
    '"bad_files": [{"path": "/in/b.parquet", "rows": 3, "reason": "not a Parquet file"}]}'
)
RECEIPT = (
    '{"fingerprint": "f0", "part": "a.parquet", "input": "/in/a.parquet", "first_row": 0, "rows_in": 57, "rows": 56, '
    '"rows_quarantined": 1, "reasons": {"text is null": 1}, "duplicates": 2, "profile": {"rows": 56}, '
    '"files": {"a.parquet": {"bytes": 4, "sha256": "00"}}, "crashes": 0, "worker": "host:1", "started_at": 1.5, '
    '"seconds": 0.5}'
)
FILES = [("/in/a.parquet", "a.parquet", 7, "1"), ("/in/b\udcff.parquet", "b\udcff.parquet", 8, "2")]
IDENTITY = Identity({"bundle_id": "b", "padded_lengths": "exact"}, {"text_column": ["text"]}, make_file_table(FILES))
PINS = Pins("1", "2", "3", "fp32")


def _make_units(num_units: int) -> list[Unit]:
    return [
        Unit("/in/a.parquet", "1", f"a-{n:05d}.parquet", (2 * n, 2 * n + 1), (n, 2), 5 * n, 7, n)
        for n in range(num_units)
    ]


def _write(store: Store, monkeypatch: pytest.MonkeyPatch, num_units: int = 7) -> Plan:
    monkeypatch.setattr(plan_module, "SHARD_UNITS", 3)
    bad = [BadFile("/in/b\udcff.parquet", 4, "its name is not UTF-8")]
    types = pa.schema([("stars", pa.int64())])
    plan = Plan("f1", IDENTITY, bad, {"other_formats": 1}, types, PINS)
    return write_plan(store, NewPlan(plan, tuple(make_unit_tables(_make_units(num_units)))))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    written = _write(store, monkeypatch)
    plan = read_plan(store)
    assert plan == written
    assert [shard.name for shard in plan.shards] == [f"_plan/units-0000{index}.parquet" for index in range(3)]
    assert (plan.num_units, plan.num_unit_rows, plan.num_rows) == (7, 35, 39)
    reader = UnitReader(store, plan.without_files())
    assert [reader.read(number) for number in (6, 0, 1, 2, 3, 4, 5)] == [
        _make_units(7)[n] for n in (6, 0, 1, 2, 3, 4, 5)
    ]


@pytest.mark.parametrize("name", ["_plan/units-00001.parquet", "_plan/files-00000.parquet"])
def test_a_shard_that_the_plan_does_not_name_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    _write(store, monkeypatch)
    store.write(name, store.read("_plan/units-00000.parquet"))
    with pytest.raises(DataError, match="is not the one that plan.json names. Pass --restart to begin again"):
        plan = read_plan(store)
        assert plan
        UnitReader(store, plan).read(3)
    store.remove_file(name)
    with pytest.raises(DataError, match="is missing. Pass --restart to begin again"):
        plan = read_plan(store)
        assert plan
        UnitReader(store, plan).read(3)


def test_a_fingerprint_depends_on_files_bundle_settings_and_pins_alone() -> None:
    files = [dict(zip(("path", "name", "bytes", "version"), file, strict=True)) for file in FILES]
    whole: dict[str, Any] = {
        "identity": {"bundle": IDENTITY.bundle, "settings": IDENTITY.settings, "files": files},
        "pins": {"engine": "1", "tokenizers": "2", "pyarrow": "3", "precision": "fp32"},
    }
    assert fingerprint_run(IDENTITY, PINS) == fingerprint(whole)
    assert fingerprint_run(IDENTITY, None) == fingerprint(whole | {"pins": None})
    assert fingerprint_run(replace(IDENTITY, files=IDENTITY.files.slice(1)), PINS) != fingerprint(whole)


def test_a_plan_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(PLAN_NAME, OLD_PLAN.encode())
    plan = read_plan(store)
    assert isinstance(plan, Plan)
    assert (plan.num_units, plan.num_rows, plan.pins) == (1, 60, None)
    unit = Unit("/in/a.parquet", "1.5", "a.parquet", (0, 1), (50, 7), 0)
    assert (plan.old_units, UnitReader(store, plan).read(0)) == ((unit,), unit)
    now = replace(plan.identity, files=make_file_table([("/in/a.parquet", "a.parquet", 7, "1.5")]))
    assert has_same_identity(plan.identity, now)
    assert not has_same_identity(plan.identity, replace(now, settings={"text_column": ["body"]}))


UNIT = Unit("/in/a.parquet", "1.5", "a.parquet", (0, 1), (50, 7), 0)


def test_a_receipt_is_read_and_written_with_the_same_bytes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(name_receipt("a.parquet"), RECEIPT.encode())
    receipt = read_bare_receipt(store, replace(UNIT, number=7), "f0")
    assert isinstance(receipt, Receipt)
    assert receipt.unit == 7
    write_receipt(store, receipt)
    assert store.read(name_receipt("a.parquet")).decode() == RECEIPT


@pytest.mark.parametrize("changes", [{"fingerprint": "f1"}, {"first_row": 50}, {"input": "/in/b.parquet"}])
def test_a_receipt_of_another_plan_or_unit_is_not_valid(changes: dict[str, object], tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(name_receipt("a.parquet"), json.dumps(json.loads(RECEIPT) | changes).encode())
    assert read_bare_receipt(store, UNIT, "f0") is None


def test_a_receipt_that_lacks_a_key_is_not_valid(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write(name_receipt("a.parquet"), b'{"fingerprint": "f0", "part": "a.parquet"}')
    assert read_bare_receipt(store, UNIT, "f0") is None


def test_the_old_name_of_the_cache_key_is_read() -> None:
    config = ScoreConfig.model_validate({"bundle": "b", "input": "i", "output": "o", "remembered_texts": 7})
    assert config.max_cached_texts == 7


def test_the_version_of_a_file_without_a_tag_or_a_time_is_its_size() -> None:
    assert make_file_info({"size": 7}).version != make_file_info({"size": 8}).version
    assert make_file_info({"size": 7, "ETag": "a"}).version == "a"
    assert make_file_info({"size": 7}).version


def test_times_of_the_report_are_in_utc() -> None:
    assert report._format_time(0) == "1970-01-01 00:00:00 UTC"
