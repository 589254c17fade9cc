"""Makes reviews for the tests of the checks, prepares them, and reads what the reports say."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from html_page import Page, assert_loads_nothing

from jobs.prepare_reviews import prepare
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.manifest import read_json

LABELS = ("negative", "neutral", "positive")
THINGS = (
    "lamp",
    "kettle",
    "jacket",
    "tent",
    "radio",
    "carpet",
    "mirror",
    "ladder",
    "basket",
    "drill",
    "pillow",
    "clock",
)


def make_reviews(count: int, *, start: int = 0) -> list[tuple[str, str]]:
    """Return reviews with the labels in turn. No text is a near duplicate of another."""
    return [
        (" ".join(f"{THINGS[(number * 7 + word * 5) % 12]}{number}x{word}" for word in range(8)), LABELS[number % 3])
        for number in range(start, start + count)
    ]


def write_csv(path: Path, rows: Iterable[tuple[str, str]], *, names: Sequence[str] = ("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def prepare_sources(output: Path, *sources: str, **keys: Any) -> dict[str, Any]:
    described = [{"path": path} for path in sources]
    prepare(PrepareConfig.model_validate({"output": str(output), "sources": described, **keys}))
    return read_json(output / "prepared.json")


def get_finding(checks: dict[str, Any], name: str) -> tuple[int, int]:
    line = next(line for line in checks["findings"] if line["name"] == name)
    assert line["share"] == pytest.approx(line["rows"] / max(1, line["of"]))
    return line["rows"], line["of"]


def read_page(output: Path) -> Page:
    html = (output / "report.html").read_text(encoding="utf-8")
    assert_loads_nothing(html)
    page = Page(html)
    assert page.open_tags == []
    page.text = " ".join(page.text.split())
    return page


def read_rows(directory: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
