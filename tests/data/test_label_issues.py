"""The checks that need a model: wrong labels, texts that the model cuts off, and texts in another language."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checked_reviews import LABELS, THINGS, get_finding, prepare_sources, read_page, write_csv

from sentiment_ray.data.report.label_issues import find_label_issues

needs_ray = pytest.mark.usefixtures("ray_cluster")


def test_injected_wrong_labels_are_found() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, size=600)
    features = (np.eye(3)[labels] @ random.normal(size=(3, 16)) + 0.35 * random.normal(size=(600, 16))).astype(
        np.float32
    )
    wrong = random.choice(600, size=30, replace=False)
    given_labels = labels.copy()
    given_labels[wrong] = (labels[wrong] + 1) % 3
    issues = find_label_issues(features, given_labels, seed=0)
    assert issues is not None
    right = set(issues.rows.tolist()) & set(wrong.tolist())
    assert len(right) >= 25
    assert len(issues.rows) <= 36
    agree = [
        predicted == labels[row] for row, predicted in zip(issues.rows, issues.predicted, strict=True) if row in right
    ]
    assert np.mean(agree) > 0.9
    assert find_label_issues(features, np.zeros(600, dtype=np.intp), seed=0) is None


@needs_ray
def test_wrong_labels_and_cut_rows_are_found_with_an_encoder(tmp_path: Path, tiny_encoder: Path) -> None:
    words = (["great", "happy", "love", "best", "good"], ["awful", "boring", "lost", "terrible", "never"])
    plain = ["phone", "week", "soup", "coffee", "printer", "window"]
    random = np.random.default_rng(1)
    # Confident learning compares a row with how confident the classifier usually is of its label. Among texts that are
    # all equally clear, only half would be above that. So one in five has fewer words that tell the label.
    num_telling = [3 if number // 2 % 5 == 0 else 8 for number in range(400)]
    texts = [
        " ".join([*random.choice(words[number % 2], size=count), *random.choice(plain, size=8 - count)])
        for number, count in enumerate(num_telling)
    ]
    rows = [(text, ("4", "5", "1", "2")[number % 2 * 2 + number // 2 % 2]) for number, text in enumerate(texts)]
    clear = [number for number in range(0, 400, 2) if num_telling[number] == 8]
    wrong = random.choice(clear, size=10, replace=False)
    for number in wrong:
        rows[number] = (rows[number][0], "1.0")
    rows.append(("tasty " * 60, "5"))
    keys: dict[str, Any] = {"model": str(tiny_encoder), "max_tokens": 32, "labels": ("negative", "positive")}
    stars = {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}
    keys["sources"] = [{"path": write_csv(tmp_path / "a.csv", rows), "label_map": stars}]
    checks = prepare_sources(tmp_path / "out", near_duplicates=False, **keys)["checks"]
    assert get_finding(checks, "cut") == (1, 401)
    assert checks["tokens"]["longest"] >= 62
    num_issues, of = get_finding(checks, "suspect_labels")
    assert of == 401
    assert 9 <= num_issues <= 12
    assert checks["suspect_labels"]["by_label"]["negative"]["rows"] >= 9
    by_rating = checks["suspect_labels"]["by_rating"]
    assert {rating: each["of"] for rating, each in by_rating.items()} == Counter(
        f"{float(stars):g}" for _, stars in rows
    )
    assert by_rating["1"]["rows"] >= 9 > by_rating["2"]["rows"]
    page = read_page(tmp_path / "out")
    assert sum(rows[number][0] in page.text for number in wrong) >= 9
    assert "predicted positive, probability of the row’s label" in page.text
    assert f"{checks['suspect_labels']['file']} lists all of them" in page.text
    issues = [json.loads(line) for line in (tmp_path / "out" / "label_issues.jsonl").read_text().splitlines()]
    assert len(issues) == num_issues
    assert [issue["rank"] for issue in issues] == [*range(1, num_issues + 1)]
    assert sorted(issue["probability"] for issue in issues) == [issue["probability"] for issue in issues]
    assert {issue["file"] for issue in issues} == {str(tmp_path / "a.csv")}
    given = {issue["row"]: issue for issue in issues if issue["row"] - 2 in wrong}  # the header is row 1
    assert len(given) >= 9
    assert {(issue["given"], issue["suggested"]) for issue in given.values()} == {("negative", "positive")}
    assert all(issue["id"] == f"a:{row}" and issue["source"] == "a" for row, issue in given.items())


@needs_ray
def test_rows_in_another_language_are_counted(tmp_path: Path) -> None:
    english = [f"The {THINGS[n % 12]} number {n} works very well and I would buy it again next year" for n in range(60)]
    german = [f"Das Gerät Nummer {n} ist leider schon nach einer Woche kaputt gegangen, sehr schade" for n in range(20)]
    rows = [(text, LABELS[number % 3]) for number, text in enumerate([*english, *german, "ok"])]
    checks = prepare_sources(
        tmp_path / "out", write_csv(tmp_path / "a.csv", rows), language="en", near_duplicates=False
    )["checks"]
    assert get_finding(checks, "language") == (20, 80)
    assert checks["languages"] == {"en": 60, "de": 20, "?": 1}
