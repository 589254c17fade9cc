"""The page about a scored corpus has the numbers of its report, loads nothing, and escapes every file name."""

import re
from typing import Any

import numpy as np
import pytest
from html_page import Page, assert_loads_nothing

from sentiment_ray.inference.drift import add_profiles, compute_drift, compute_profile
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.score.page import write_page

LABELS = ("negative", "neutral", "positive")
FIVE_LABELS = ("very negative", *LABELS, "very positive")


def _profile(num_rows: int, labels: tuple[str, ...], favour: float, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    values = random.dirichlet([1] * (len(labels) - 1) + [favour], size=num_rows).astype(np.float32)
    tokens = random.integers(3, 65, size=num_rows, dtype=np.int32)
    scores = Scores(values, values, values.argmax(axis=1), tokens, tokens == 64, tokens // 32)
    return compute_profile((["tea"] * 9 + ["чай"]) * (num_rows // 10), scores, labels)


def _report(*, num_rows: int = 2000, labels: tuple[str, ...] = LABELS, num_workers: int = 3) -> dict[str, Any]:
    profile, reference = _profile(num_rows, labels, 4, seed=0), _profile(1000, labels, 1, seed=1)
    return {
        "output": "/data/scores",
        "bundle": "/data/bundle",
        "bundle_id": "0123456789abcdef",
        "engine": "onnxruntime",
        "variant": "int8",
        "started_at": "2026-01-31T09:00:00+00:00",
        "finished_at": "2026-01-31T09:02:05+00:00",
        "elapsed_s": 125.0,
        "rows_in": num_rows + 3,
        "rows_scored": num_rows,
        "rows_quarantined": 3,
        "files": 2,
        "parts": 4,
        "bytes_out": 1_234_567,
        "profile": profile,
        "reference": reference,
        "drift": compute_drift(reference, profile),
        "quarantine_reasons": {"text is null": 1, "text is empty": 2},
        "files_quarantined": [{"path": "/data/in/a.parquet", "reason": "not a Parquet file that can be read"}],
        "workers": [
            {"worker": f"worker-{index:02d}", "rows": 600, "seconds": 10.0 + index, "units": 2}
            for index in range(num_workers)
        ],
        "crashes": 1,
        "duplicates": 12,
        "versions": {"python": "3.11.9", "ray": "2.60.0"},
    }


def test_the_page_shows_the_numbers_of_the_report() -> None:
    report = _report()
    share = report["profile"]["labels"]["positive"] / 2000
    text = re.sub(r"\s+", " ", Page(write_page(report)).text)
    for expected in (
        f"2,000 rows scored, 3 quarantined, {share * 100:.0f} % positive",
        "2 min 5 s",
        "1.23 MB written in 4 parts",
        "Labels drifted positive",
        "Script stable",
        f"{report['drift']['labels']:.3f}",
        "text is empty 2 text is null 1",
        "/data/in/a.parquet not a Parquet file that can be read",
        "3 workers scored from 50 to 60 rows a second each, 55 at the median.",
        "1 worker crashed",
        "12 rows had the same text as another row",
        "0123456789abcdef",
        "ray 2.60.0",
    ):
        assert expected in text


@pytest.mark.parametrize("labels", [LABELS, FIVE_LABELS])
def test_every_plot_has_a_description_in_words(labels: tuple[str, ...]) -> None:
    page = Page(write_page(_report(labels=labels)))
    assert page.open_tags == []
    described = [attributes["aria-label"] or "" for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert len(described) == sum(tag == "svg" for tag, _ in page.tags) == 5
    assert all(f"{label} " in described[0] for label in labels)


def test_the_page_loads_nothing() -> None:
    html = write_page(_report())
    assert "http" not in html
    assert_loads_nothing(html)


def test_names_and_reasons_are_escaped() -> None:
    hostile = "<script>alert(1)</script>\"'&{{ output }}$x$\udcff"
    report = _report(labels=("<b>$x$</b>", "neutral", "positive"))
    report |= {"output": hostile, "quarantine_reasons": {hostile: 3}, "engine": hostile, "versions": {hostile: hostile}}
    report["files_quarantined"] = [{"path": hostile, "reason": hostile}]
    for worker in report["workers"]:
        worker["worker"] = f"{worker['worker']}<i>&$y$"
    html = write_page(report)
    assert html.encode()
    page = Page(html)
    assert {"script", "b>$x$</b", "i"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.text.count("<script>alert(1)</script>\"'&{{ output }}$x$?") == 7
    assert "<b>$x$</b>" in page.text
    assert "worker-00<i>&$y$" in page.text


@pytest.mark.parametrize("profile", [_profile(0, LABELS, 1, seed=0), add_profiles([])], ids=["labels", "nothing"])
def test_a_corpus_without_a_scored_row_has_a_page(profile: dict[str, Any]) -> None:
    nothing = {"profile": profile, "drift": {}, "workers": [], "rows_scored": 0, "elapsed_s": 0.0, "bytes_out": 0}
    page = Page(write_page(_report() | nothing))
    assert "No rows scored, 3 quarantined" in page.text
    assert "there is nothing to compare" in page.text
    assert not any(tag == "svg" for tag, _ in page.tags)


def test_the_page_says_that_a_bundle_has_no_reference() -> None:
    page = Page(write_page(_report() | {"reference": {}, "drift": {}}))
    assert "The bundle has no counts of validation reviews" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 5


def test_few_rows_are_not_called_drift() -> None:
    reference, profile = _profile(30, LABELS, 1, seed=1), _profile(30, LABELS, 1, seed=2)
    drift = compute_drift(reference, profile)
    assert drift["confidence"] > 0.25
    page = Page(write_page(_report() | {"profile": profile, "reference": reference, "drift": drift}))
    assert re.search(r"Confidence\s+too few rows to tell", page.text)


def test_long_lists_are_cut_and_counted() -> None:
    report = _report(num_workers=40)
    report["files_quarantined"] = [{"path": f"{index}.parquet", "reason": "bad"} for index in range(50)]
    page = Page(write_page(report))
    assert "19.parquet" in page.text
    assert "20.parquet" not in page.text
    assert "and 30 more" in page.text
    assert "the 12 slowest of 40" in page.text


def test_lengths_without_texts_keep_their_column_in_the_plot() -> None:
    report = _report(num_rows=10)
    report["profile"]["tokens"] = {"1-4": 5, "257-512": 5}
    report["reference"] = {}
    page = Page(write_page(report | {"drift": {}}))
    for edge in ("8", "16", "32", "64", "128", "256", "512"):
        assert re.search(rf"^\s*{edge}\s*$", page.text, re.MULTILINE)
