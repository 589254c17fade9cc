"""Evaluates a real bundle on labelled sentences: the numbers, the files, the page, and the comparison."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from html_page import Page, assert_loads_nothing
from pyarrow import parquet
from sklearn.metrics import accuracy_score, f1_score

from sentiment_ray import Predictor
from sentiment_ray.errors import BundleError, DataError, GateError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from tests.hostile.damage import seal

ROOT = Path(__file__).parent.parent.parent
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x> {{ 7 * 7 }} </p></li> & \" '"
EXACT = {"engine": "onnxruntime", "variant": "fp32"}
AGAINST_EXACT = {"against_engine": "onnxruntime", "against_variant": "fp32"}
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]]) -> Path:
    """The everyday sentences with their labels, hostile ones among them, and a row without a label."""
    rows = [*everyday, *[(f"{HOSTILE} {number}", "positive") for number in range(25)], ("tea", None)]
    texts, labels = zip(*rows, strict=True)
    sources = [HOSTILE if "script" in text else "everyday" for text in texts]
    path = tmp_path_factory.mktemp("labelled") / "reviews.parquet"
    parquet.write_table(pa.table({"id": range(len(rows)), "text": texts, "label": labels, "source": sources}), path)
    return path


@pytest.fixture(scope="module")
def evaluation(bundle: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluation") / "report"
    evaluate_bundle(EvaluateConfig(bundle=str(bundle), input=str(labelled), output=str(output), **EXACT))
    return output


@pytest.fixture
def evaluate(bundle: Path, labelled: Path, tmp_path: Path) -> Evaluate:
    """Evaluate with some keys changed and return evaluation.json."""

    def call(**keys: Any) -> dict[str, Any]:
        output = tmp_path / "out"
        settings = {"bundle": str(bundle), "input": str(labelled), "output": str(output), **EXACT, **keys}
        evaluate_bundle(EvaluateConfig(**settings))
        return _report(output)

    return call


@pytest.fixture(scope="module")
def contrary(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle with every logit negated, so that it says the least likely label."""
    path = tmp_path_factory.mktemp("contrary") / "bundle"
    shutil.copytree(bundle, path)
    model = onnx.load(path / "onnx/model.onnx")
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[0] = "not_negated"
    model.graph.node.append(onnx.helper.make_node("Neg", ["not_negated"], ["logits"]))
    onnx.save(model, path / "onnx/model.onnx")
    _edit_manifest(path, self_test=None)  # the self-test would fail
    return path


def _edit_manifest(path: Path, **values: Any) -> None:
    manifest = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(manifest | values))
    seal(path)


def _report(output: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((output / "evaluation.json").read_text(), parse_constant=refuse)


def _page(output: Path) -> str:
    return (output / "report.html").read_text(encoding="utf-8")


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text)


def test_the_numbers_are_those_of_the_predictor(evaluation: Path, labelled: Path, predictor: Predictor) -> None:
    report = _report(evaluation)
    rows = parquet.read_table(labelled).to_pylist()[:-1]
    answers = [answer.label for answer in predictor.predict([row["text"] for row in rows])]
    truth = [row["label"] for row in rows]
    assert report["metrics"]["rows"] == len(rows)
    assert report["metrics"]["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert report["metrics"]["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    low, high = report["metrics"]["intervals"]["macro_f1"]
    assert low < report["metrics"]["macro_f1"] < high
    assert np.sum(report["confusion"]) == len(rows)
    assert report["majority"]["accuracy"] == max(truth.count(label) for label in set(truth)) / len(truth)
    first = f"{labelled}, row {len(rows)}"
    assert report["rejected"] == {"rows": 1, "reasons": {"label is null": 1}, "first": first}
    assert report["ordered"]


def test_a_touched_input_with_the_same_bytes_is_not_evaluated_again(
    evaluation: Path, bundle: Path, labelled: Path
) -> None:
    os.utime(labelled, (1, 1))
    config = EvaluateConfig(bundle=str(bundle), input=str(labelled), output=str(evaluation), **EXACT)
    assert evaluate_bundle(config)["skipped"]


def test_tables_of_examples_keep_the_columns_and_are_sorted(evaluation: Path, labelled: Path) -> None:
    source = parquet.read_table(labelled)
    added = ["sentiment_label", "sentiment_score", "sentiment_negative", "sentiment_neutral", "sentiment_positive"]
    for name in ("mistakes", "uncertain"):
        table = parquet.read_table(evaluation / f"{name}.parquet")
        assert table.column_names == source.column_names + added
        assert 0 < len(table) <= 200
        assert table.select(source.column_names).to_pylist() == source.take(table["id"]).to_pylist()
    mistakes = parquet.read_table(evaluation / "mistakes.parquet").to_pandas()
    assert (mistakes["label"] != mistakes["sentiment_label"]).all()
    assert mistakes["sentiment_score"].is_monotonic_decreasing
    assert parquet.read_table(evaluation / "uncertain.parquet").to_pandas()["sentiment_score"].is_monotonic_increasing


def test_the_page_opens_with_the_result_in_a_sentence(evaluation: Path) -> None:
    report, text = _report(evaluation), _words(_page(evaluation))
    metrics = report["metrics"]
    low, high = metrics["intervals"]["macro_f1"]
    headline = f"Macro-F1 {metrics['macro_f1']:.3f} ({low:.3f}–{high:.3f}) on {metrics['rows']} reviews; "
    assert text.strip().startswith(headline)
    for part in (
        "Always predicting ",
        "label is null (1)",
        "Quality",
        "Confusion matrix",
        "Calibration: is a score of 0.9 right in 90 % of the rows?",
        "Quality by slice",
        "Confident mistakes",
        "Uncertain predictions",
        "Effect of single words",
        "When a person should decide",
        "Sentiment suite",
    ):
        assert part in text
    assert "Comparison with the other bundle" not in text


def test_the_page_loads_nothing_and_escapes_every_text(evaluation: Path) -> None:
    html = _page(evaluation)
    assert_loads_nothing(html)
    page = Page(html)
    assert page.open_tags == []
    assert HOSTILE in page.text
    described = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(described) == sum(tag == "svg" for tag, _ in page.tags) == 4


def test_each_word_shows_the_drop_of_the_score_without_it(evaluation: Path, predictor: Predictor) -> None:
    page = Page(_page(evaluation))
    titles = [attributes["title"] for tag, attributes in page.tags if tag == "span" and "title" in attributes]
    assert len(titles) > 10
    assert all(re.fullmatch(r"[+−]?\d\.\d{3}", title or "") for title in titles)
    worst = parquet.read_table(evaluation / "mistakes.parquet").to_pylist()[0]
    words = worst["text"].split()
    without_first = predictor.predict([worst["text"].removeprefix(words[0])])[0].probabilities
    drop = worst["sentiment_score"] - without_first[worst["sentiment_label"]]
    assert float((titles[0] or "").replace("−", "-")) == pytest.approx(drop, abs=1e-3)


def test_texts_stay_out_of_the_page_when_asked(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(show_texts=False, slice_by="id")
    html = _page(tmp_path / "out")
    texts = parquet.read_table(tmp_path / "out/mistakes.parquet")["text"].to_pylist()
    assert len(texts) > 10
    assert not any(text in html for text in texts[:50])
    assert "mistakes.parquet" in html
    assert "alert(1)" not in html
    assert "alert(1)" not in (tmp_path / "out/evaluation.json").read_text()


def test_labels_without_an_order_have_no_quadratic_kappa(evaluate: Evaluate) -> None:
    report = evaluate(ordered=False, precisions="0.5", examples=3, attributions=0)
    assert not report["ordered"]
    assert "quadratic_kappa" not in report["metrics"]
    assert [row["wanted"] for row in report["abstain"]["thresholds"]] == [0.5]


def test_one_row_has_a_page(evaluate: Evaluate, tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    parquet.write_table(pa.table({"text": [HOSTILE], "label": ["positive"]}), path)
    report = evaluate(input=str(path))
    assert report["calibration"] == {}
    html = _page(tmp_path / "out")
    assert_loads_nothing(html)
    text = _words(html)
    assert "on 1 review;" in text
    assert text.count("<script>alert(1)</script><img") >= 2  # among the least certain, and as words


def test_a_column_that_the_evaluation_would_add_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    path = tmp_path / "scored.parquet"
    parquet.write_table(pa.table({"text": ["good"], "label": ["positive"], "sentiment_label": ["neutral"]}), path)
    with pytest.raises(DataError, match="has a column 'sentiment_label'"):
        evaluate(input=str(path))


def test_a_bundle_with_other_labels_cannot_be_compared(evaluate: Evaluate, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "other")
    names = ["bad", "neutral", "good"]
    config = json.loads((tmp_path / "other/config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    _edit_manifest(tmp_path / "other", labels=names)
    with pytest.raises(BundleError, match="negative, neutral, positive.*bad, neutral, good"):
        evaluate(against=str(tmp_path / "other"))


def test_a_better_bundle_passes_and_its_flips_are_written(
    evaluate: Evaluate, contrary: Path, bundle: Path, tmp_path: Path
) -> None:
    comparison = evaluate(against=str(contrary), **AGAINST_EXACT)["comparison"]
    assert comparison["passed"]
    assert comparison["bundle_id"] == json.loads((contrary / "bundle.json").read_text())["bundle_id"]
    flips = parquet.read_table(tmp_path / "out/flips.parquet").to_pandas()
    assert len(flips) == comparison["flips"] > 0
    assert (flips["sentiment_label"] != flips["against_label"]).all()
    assert {"id", "text", "label", "source", "against_score", "against_negative"} < set(flips)
    html = _page(tmp_path / "out")
    assert_loads_nothing(html)
    assert "Comparison with the other bundle" in _words(html)


def test_few_rows_that_cannot_rule_a_larger_loss_out_are_a_warning(
    evaluate: Evaluate, contrary: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate(bundle=str(contrary), against=str(bundle), max_macro_f1_drop=1.0, **AGAINST_EXACT)
    limit = -report["comparison"]["differences"]["macro_f1"] + 1e-6
    capsys.readouterr()
    values = {"bundle": str(contrary), "against": str(bundle), "max_macro_f1_drop": limit, "restart": True}
    comparison = evaluate(**values, **AGAINST_EXACT)["comparison"]
    assert (comparison["passed"], comparison["certain"]) == (True, False)
    assert "rows cannot rule out a loss of" in capsys.readouterr().err
    assert "cannot rule out a loss" in _words(_page(tmp_path / "out"))


def test_a_worse_bundle_exits_with_3_after_its_report_is_written(
    contrary: Path, bundle: Path, labelled: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "jobs.evaluate_bundle", "--bundle", contrary, "--engine", "onnxruntime"]
    command += ["--variant", "fp32", "--against", bundle, "--input", labelled, "--output", tmp_path / "out"]
    for _ in range(2):  # the second time the report exists, and the result is the same
        done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
        assert done.returncode == 3, done.stderr
        assert done.stdout == ""
        assert re.search(r"(?m)^error: .* less macro-F1 than .* max_macro_f1_drop = 0\.01\.", done.stderr)
    report = _report(tmp_path / "out")
    assert report["comparison"]["differences"]["macro_f1"] < -0.01
    assert report["comparison"]["mcnemar_p"] < 0.05
    assert "Worse than the other bundle" in _words(_page(tmp_path / "out"))


def test_an_evaluation_is_repeated_for_another_bundle_to_compare_with(
    evaluate: Evaluate, contrary: Path, bundle: Path
) -> None:
    evaluate(against=str(contrary), **AGAINST_EXACT)
    assert evaluate(restart=True)["comparison"] == {}
    with pytest.raises(GateError, match="less macro-F1"):
        evaluate(bundle=str(contrary), against=str(bundle), restart=True, **AGAINST_EXACT)
