"""prepare_reviews with Ray: splits by group and time, balance, augmentation, cleaning, and the manifest."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.prepare_reviews import main
from sentiment_ray.config.shell import read_config
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import read_json

LABELS = ("negative", "positive")
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def _prepared(output: Path, **keys: Any) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    config = PrepareConfig.model_validate({"output": str(output), "labels": LABELS, "max_rejected": 0.2, **keys})
    counts = prepare_reviews(config)["counts"]
    rows = {split: pq.read_table(output / split).to_pylist() for split in SPLITS}
    left = sum(counts[name] for name in ("duplicates", "conflicting", "undersampled", "rejected"))
    assert counts["rows_in"] + counts["copies"] + counts["augmented"] == left + sum(map(len, rows.values()))
    return rows, read_json(output / "prepared.json")


def _texts(count: int) -> list[dict[str, Any]]:
    return [{"text": f"The text number {n}", "label": LABELS[n % 3 > 0]} for n in range(count)]


def test_each_product_is_in_one_split_and_the_training_split_is_balanced(tmp_path: Path, ray_cluster: None) -> None:
    rows = [row | {"product": n % 40, "key": str(n)} for n, row in enumerate(_texts(400))]
    rows += [row | {"product": None, "key": "none"} for row in _texts(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=100)
    written, manifest = _prepared(
        tmp_path / "out",
        sources=[{"path": str(tmp_path / "a.parquet"), "id_column": "key", "group_column": "product"}],
        split_by="group",
        balance="over",
        augment={"share": 0.3},
    )
    products = [{int(row["id"].split("#")[0]) % 40 for row in written[split]} for split in SPLITS]
    assert sum(map(len, products)) == 40
    assert manifest["rejected_reasons"] == {"null group": 3}
    train = [row for row in written["train"] if "#augmented" not in row["id"]]
    assert len({sum(row["label"] == label for row in train) for label in LABELS}) == 1
    assert manifest["counts"]["augmented"] == len(written["train"]) - len(train) > 20
    assert manifest["counts"]["copies"] == sum("#copy-" in row["id"] for row in train) > 20


def test_times_of_every_format_give_the_same_splits_and_texts_are_cleaned(tmp_path: Path, ray_cluster: None) -> None:
    times = [FIRST + timedelta(hours=12 * n) for n in range(120)]
    tables = {
        "stamps": pa.array(times, pa.timestamp("ms", "UTC")),
        "naive": pa.array([time.replace(tzinfo=None) for time in times], pa.timestamp("ns")),
        "days": pa.array([time.date() for time in times], pa.date32()),
        "seconds": pa.array([int(time.timestamp()) for time in times]),
    }
    sources: list[dict[str, Any]] = []
    for name, column in tables.items():
        texts = {key: [row[key] for row in _texts(120)] for key in ("text", "label")}
        texts["text"] = [f"{name}<br />&amp; {text}" for text in texts["text"]]
        pq.write_table(pa.table({**texts, "when": column}), tmp_path / f"{name}.parquet")
        sources.append({"path": str(tmp_path / f"{name}.parquet")})
    with (tmp_path / "iso.csv").open("w", newline="") as file:
        rows = [[row["text"], row["label"], time.isoformat()] for row, time in zip(_texts(120), times, strict=True)]
        csv.writer(file).writerows([["text", "label", "written"], *rows, ["Never", "positive", "soon"]])
    sources.append({"path": str(tmp_path / "iso.csv"), "time_column": "written"})
    flags = {"split_by": "time", "time_column": "when", "validation_from": "2024-01-31", "test_from": "2024-02-15"}
    steps = "unescape_html,strip_tags"
    written, manifest = _prepared(tmp_path / "out", sources=sources, clean=steps, **flags)
    assert manifest["by_source"].keys() == {*tables, "iso"}
    for source in manifest["by_source"].values():
        assert [source[split] for split in SPLITS] == [60, 30, 30]
    assert manifest["rejected_reasons"] == {"time is neither a date (ISO 8601) nor seconds since 1970": 1}
    assert (manifest["steps"], manifest["cleaned"]) == (steps.split(","), {"unescape_html": 480, "strip_tags": 480})
    texts = [row["text"] for split in SPLITS for row in written[split]]
    assert sum(text.startswith("stamps & The text") for text in texts) == 120
    assert not any("<" in text or "&amp;" in text for text in texts)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"split_by": "group"}, "split_by = 'group' needs group_column for the source 'a.csv'"),
        ({"split_by": "time", "time_column": "day"}, "split_by = 'time' needs a day at which a held-out split starts"),
        ({"group_column": "user"}, "group_column is for split_by = 'group', but split_by is 'hash'"),
        (
            {"split_by": "time", "time_column": "day", "validation_from": "2024-02-01", "test_from": "2024-01-01"},
            "validation_from = 2024-02-01 is after test_from = 2024-01-01",
        ),
        ({"split_by": "time", "test_from": "soon"}, "test_from = 'soon': this is not a day or a time"),
        ({"clean": "strip_tags,os.system"}, "'os.system' is not a known cleaning step. Known: unescape_html, "),
    ],
)
def test_keys_that_exclude_each_other_are_refused(flags: dict[str, str], message: str) -> None:
    assert set(flags) <= {parameter.name for parameter in main.params}
    with pytest.raises(ConfigError, match=message):
        read_config("prepare", PrepareConfig, {"input": "a.csv", "output": "out", **flags})
