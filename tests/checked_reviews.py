"""Reviews for the tests of the checks, and what the reports say about them."""

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


def reviews(count: int, *, start: int = 0) -> list[tuple[str, str]]:
    """Return texts of which none resembles another, every label in turn."""
    return [
        (" ".join(f"{THINGS[(number * 7 + place * 5) % 12]}{number}x{place}" for place in range(8)), LABELS[number % 3])
        for number in range(start, start + count)
    ]


def write(path: Path, rows: Iterable[tuple[str, str]], *, names: Sequence[str] = ("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def run(output: Path, *sources: str, **keys: Any) -> dict[str, Any]:
    described = [{"path": path} for path in sources]
    prepare(PrepareConfig.model_validate({"output": str(output), "sources": described, **keys}))
    return read_json(output / "prepared.json")


def finding(checks: dict[str, Any], name: str) -> tuple[int, int]:
    line = next(line for line in checks["findings"] if line["name"] == name)
    assert line["share"] == pytest.approx(line["rows"] / max(1, line["of"]))
    return line["rows"], line["of"]


def page_of(output: Path) -> Page:
    html = (output / "report.html").read_text(encoding="utf-8")
    assert_loads_nothing(html)
    page = Page(html)
    assert page.open == []
    page.text = " ".join(page.text.split())
    return page


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
