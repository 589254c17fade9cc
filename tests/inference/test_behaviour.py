"""The suite always has the same cases, of every capability, and counts the right answers of a bundle."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray import Predictor
from sentiment_ray.inference.behaviour import Case, count_passed_cases, failed_cases, load_cases
from sentiment_ray.labels import label2id
from tests.conftest import LABELS

SWAPS = {"product_name_swap", "person_name_swap"}
CAPABILITIES = {
    "plain",
    "negation",
    "double_negation",
    "contrast",
    "intensifier",
    "question",
    "neutral_facts",
    "emoji",
    "capitals",
    "typos",
    "temporal_change",
} | SWAPS
ONE_SIDED = {"neutral_facts"} | SWAPS


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    return load_cases()


def _expected_ids(cases: Sequence[Case], labels: Sequence[str] = LABELS) -> NDArray[np.int64]:
    """Return the id of each case's expected label, or 0 where no label is expected or the bundle does not have it."""
    ids = label2id(labels)
    return np.array([ids.get(case.expected or "", 0) for case in cases], dtype=np.int64)


def test_every_capability_has_cases(cases: tuple[Case, ...]) -> None:
    counts = Counter(case.capability for case in cases)
    assert set(counts) == CAPABILITIES
    assert len(cases) >= 400
    assert min(counts.values()) >= 24, counts


def test_no_text_comes_twice_even_in_another_case(cases: tuple[Case, ...]) -> None:
    assert [text for text, count in Counter(case.text.lower() for case in cases).items() if count > 1] == []


def test_no_text_is_in_the_demo_data(cases: tuple[Case, ...], everyday: list[tuple[str, str]]) -> None:
    assert {case.text.lower() for case in cases} & {text.lower() for text, _ in everyday} == set()


def test_texts_are_complete_and_short(cases: tuple[Case, ...]) -> None:
    malformed = [case.text for case in cases if case.text != " ".join(case.text.split()) or "{" in case.text]
    assert malformed == []
    assert max(len(case.text.split()) for case in cases) <= 24


def test_cases_are_the_same_in_another_process(cases: tuple[Case, ...]) -> None:
    code = "from sentiment_ray.inference.behaviour import load_cases; print(ascii(load_cases()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii(cases)


def test_there_are_as_many_positive_cases_as_negative_ones(cases: tuple[Case, ...]) -> None:
    counts: dict[str, Counter[str | None]] = defaultdict(Counter)
    for case in cases:
        counts[case.capability][case.expected] += 1
    assert {name: count for name, count in counts.items() if count["positive"] != count["negative"]} == {}
    assert all(counts[name]["positive"] >= 8 for name in CAPABILITIES - ONE_SIDED)
    assert set(counts["neutral_facts"]) == {"neutral"}


def test_a_case_has_a_label_or_a_group_whose_texts_differ_only_in_a_name(cases: tuple[Case, ...]) -> None:
    assert all((case.expected in LABELS) != (case.group is not None) for case in cases)
    assert {case.capability for case in cases if case.group} == SWAPS
    groups = defaultdict(list)
    for case in cases:
        if case.group:
            groups[case.group].append(case.text)
    assert len(groups) >= 12
    for group, texts in groups.items():
        before, _, after = group.partition("{")
        after = after.partition("}")[2]
        assert len(texts) >= 5
        assert all(text.startswith(before) and text.endswith(after) for text in texts), group


def test_right_answers_pass(cases: tuple[Case, ...]) -> None:
    results = count_passed_cases(cases, _expected_ids(cases), LABELS)
    by_capability = results.pop("by_capability")
    assert results == {"cases": len(cases), "passed": len(cases), "share": 1.0, "left_out": 0}
    counts = Counter(case.capability for case in cases)
    assert by_capability == {name: {"cases": n, "passed": n, "share": 1.0} for name, n in counts.items()}
    assert failed_cases(cases, _expected_ids(cases), LABELS) == []


def test_wrong_answers_fail_where_a_label_is_expected(cases: tuple[Case, ...]) -> None:
    wrong = (_expected_ids(cases) + 1) % len(LABELS)
    results = count_passed_cases(cases, wrong, LABELS)
    assert json.loads(json.dumps(results)) == results
    assert {name: counts["share"] for name, counts in results["by_capability"].items()} == {
        name: float(name in SWAPS) for name in CAPABILITIES
    }
    failed = failed_cases(cases, wrong, LABELS)
    assert [row["text"] for row in failed] == [case.text for case in cases if case.expected]
    assert all(row["predicted"] != row["expected"] for row in failed)


def test_a_constant_answer_gets_a_low_share(cases: tuple[Case, ...]) -> None:
    for label_id in range(len(LABELS)):
        results = count_passed_cases(cases, np.full(len(cases), label_id), LABELS)
        assert results["share"] < 0.6
        assert results["by_capability"]["plain"]["share"] < 0.5


def test_a_name_that_changes_the_label_costs_one_case(cases: tuple[Case, ...]) -> None:
    answers = _expected_ids(cases)
    index = next(index for index, case in enumerate(cases) if case.capability == "person_name_swap")
    answers[index] = 2
    results = count_passed_cases(cases, answers, LABELS)
    swapped = results["by_capability"]["person_name_swap"]
    assert swapped["cases"] - swapped["passed"] == results["cases"] - results["passed"] == 1
    assert failed_cases(cases, answers, LABELS) == [
        {
            "capability": "person_name_swap",
            "text": cases[index].text,
            "expected": "negative",
            "predicted": "positive",
            "group": cases[index].group,
        }
    ]


def test_in_a_tie_a_group_expects_the_label_that_comes_first() -> None:
    cases = [Case("person_name_swap", f"{name} came.", None, "{person} came.") for name in ("Ann", "Bo", "Cy", "Di")]
    answers = np.array([2, 0, 0, 2])
    assert count_passed_cases(cases, answers, LABELS)["passed"] == 2
    assert [row["text"] for row in failed_cases(cases, answers, LABELS)] == ["Bo came.", "Cy came."]


@pytest.mark.parametrize("labels", [("negative", "positive"), ("positive", "negative")])
def test_cases_whose_label_the_bundle_lacks_are_counted_as_left_out(
    cases: tuple[Case, ...], labels: tuple[str, str]
) -> None:
    results = count_passed_cases(cases, _expected_ids(cases, labels), labels)
    num_neutral = sum(case.expected == "neutral" for case in cases)
    assert results["left_out"] == num_neutral > 0
    assert results["cases"] == results["passed"] == len(cases) - num_neutral
    assert set(results["by_capability"]) == CAPABILITIES - {"neutral_facts"}
    assert sum(counts["cases"] for counts in results["by_capability"].values()) == results["cases"]
    assert failed_cases(cases, _expected_ids(cases, labels), labels) == []


def test_a_bundle_with_other_labels_is_tested_on_swapped_names_only(cases: tuple[Case, ...]) -> None:
    results = count_passed_cases(cases, np.zeros(len(cases), dtype=np.int64), ["1", "2", "3", "4", "5"])
    assert set(results["by_capability"]) == SWAPS
    assert count_passed_cases([], np.array([], dtype=np.int64), LABELS) == {
        "cases": 0,
        "passed": 0,
        "share": None,
        "left_out": 0,
        "by_capability": {},
    }


def test_a_wrong_number_of_answers_is_refused(cases: tuple[Case, ...]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        count_passed_cases(cases, _expected_ids(cases)[:-1], LABELS)


def test_a_real_bundle_answers_every_case(cases: tuple[Case, ...], predictor: Predictor) -> None:
    scores = predictor.score([case.text for case in cases])
    results = count_passed_cases(cases, scores.label_ids, predictor.labels)
    failed = failed_cases(cases, scores.label_ids, predictor.labels)
    assert results["cases"] == len(cases)
    assert results["cases"] - results["passed"] == len(failed)


def test_the_suite_loads_no_heavy_library() -> None:
    code = "import sys, sentiment_ray.inference.behaviour as suite; suite.load_cases(); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"ray", "torch", "transformers", "pandas", "pyarrow", "sklearn", "scipy", "optimum", "onnx"}
    assert heavy.isdisjoint(done.stdout.splitlines())
