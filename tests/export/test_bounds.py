"""A file is judged by the end of an interval that speaks against it, and few rows condemn no good file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from export.bounds import describe_few_rows, list_missed_bounds
from export.closing import Exported, list_sentences
from export.config import ExportConfig
from export.gate import compare
from export.static_calibration import CALIBRATION_TEXTS, choose_static_calibration
from export.suite import explain_no_suite
from sentiment_ray.inference.behaviour import load_cases
from sentiment_ray.inference.scoring import Scores, compute_probabilities
from sentiment_ray.labels import label2id
from tests.conftest import LABELS

CASES = load_cases()


def _score(label_ids: NDArray[np.int64], scale: float = 0.05) -> Scores:
    """Scores of answers that are nearly ties, so that a changed label moves no probability by much."""
    logits = np.float32(scale) * np.eye(3, dtype=np.float32)[label_ids]
    counts = np.zeros(len(label_ids), dtype=np.int32)
    return Scores(logits, compute_probabilities(logits), label_ids, counts, counts > 0, counts)


def _compare(
    num_rows: int, *, worse: int = 0, better: int = 0, label_ids: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """The gate of a file that answers as torch does but for some rows, which it loses or gains."""
    label_ids = np.arange(num_rows) % 3 if label_ids is None else label_ids
    torch_ids = label_ids.copy()
    torch_ids[:better] = (label_ids[:better] + 1) % 3
    file_ids = label_ids.copy()
    file_ids[num_rows - worse :] = (label_ids[num_rows - worse :] + 1) % 3
    batches = {"flips_alone": 0, "max_difference_alone": 0.0, "max_difference_padded": 0.0}
    gate = compare(_score(file_ids), _score(torch_ids), label_ids)
    return gate | {"suite_drop": 0.0, "batches": batches, "not_judged": []}


def _list_missed(gate: dict[str, Any], **bounds: float) -> list[str]:
    """The keys of the bounds that a gate missed."""
    config = ExportConfig(run="run", output="bundle", **bounds)  # type: ignore[arg-type]
    return [line.partition(" ")[0] for line in list_missed_bounds(gate, config)]


@pytest.mark.parametrize("num_rows", [1, 2, 10, 66, 499, 500, 5000])
@pytest.mark.parametrize("bounds", [{}, {"min_agreement": 1.0, "max_macro_f1_drop": 0.0, "max_mean_difference": 0.0}])
def test_a_file_that_answers_as_torch_passes_with_any_number_of_rows(num_rows: int, bounds: dict[str, float]) -> None:
    assert _list_missed(_compare(num_rows), **bounds) == []


@pytest.mark.parametrize(
    ("num_rows", "num_changed", "bound", "is_missed"),
    [
        (1000, 25, 0.97, True),  # 0.975, but 0.963 is as likely
        (1000, 15, 0.97, False),
        (5000, 125, 0.97, False),  # 0.975 on so many rows is above 0.97
        (500, 10, 0.97, True),
        (300, 3, 0.97, False),
        (66, 2, 0.97, False),  # 0.9697, and 64 of 66 rows cannot tell it from 0.97
        (66, 12, 0.97, True),
        (10, 1, 0.97, False),
        (10, 10, 0.97, True),
        (300, 4, 0.97, True),
        (600, 1, 0.999, False),  # too few rows for so strict a bound
        (10_000, 8, 0.999, True),
        (5000, 1, 1.0, True),
        (1000, 60, 0.9, False),
    ],
)
def test_label_agreement_is_judged_by_the_lower_end_of_its_interval(
    num_rows: int, num_changed: int, bound: float, is_missed: bool
) -> None:
    gate = _compare(num_rows, worse=num_changed // 2, better=num_changed - num_changed // 2)
    missed = _list_missed(gate, min_agreement=bound, max_macro_f1_drop=1.0)
    assert missed == (["min_agreement"] if is_missed else [])


@pytest.mark.parametrize("num_rows", [60, 100, 300, 333, 334, 900])
@pytest.mark.parametrize("num_changed", [1, 3])
def test_a_few_changed_rows_condemn_no_file(num_rows: int, num_changed: int) -> None:
    assert _list_missed(_compare(num_rows, worse=num_changed // 2, better=num_changed - num_changed // 2)) == []


@pytest.mark.parametrize(
    ("num_rows", "worse", "better", "is_missed"),
    [
        (2000, 15, 0, True),  # 0.0075 is lost, at most 0.011
        (2000, 5, 0, False),
        (2000, 15, 15, False),
        (2000, 0, 40, False),
        (10_000, 75, 0, False),  # 0.0075, at most 0.009
        (66, 1, 0, False),
        (66, 30, 0, True),
        (300, 3, 0, False),
        (300, 9, 0, True),
    ],
)
def test_macro_f1_is_judged_by_the_upper_end_of_the_paired_interval(
    num_rows: int, worse: int, better: int, is_missed: bool
) -> None:
    gate = _compare(num_rows, worse=worse, better=better)
    assert ("max_macro_f1_drop" in _list_missed(gate)) == is_missed


@pytest.mark.parametrize(
    ("num_rows", "bounds", "line"),
    [
        (66, {}, "66 rows were compared, min_agreement = 0.97 needs 334 and max_macro_f1_drop = 0.01 needs 1,000"),
        (400, {}, "400 rows were compared, max_macro_f1_drop = 0.01 needs 1,000"),
        (1000, {}, None),
        (1000, {"min_agreement": 0.999}, "1,000 rows were compared, min_agreement = 0.999 needs 10,000"),
        (100, {"min_agreement": 0.9, "max_macro_f1_drop": 0.1}, None),
        (66, {"min_agreement": 1.0, "max_macro_f1_drop": 0.0}, None),  # any change is a miss
    ],
)
def test_rows_that_are_too_few_for_a_bound_are_counted(num_rows: int, bounds: dict[str, Any], line: str | None) -> None:
    described = describe_few_rows(num_rows, ExportConfig(run="run", output="bundle", **bounds))
    assert (described or "").removeprefix("the files on other reviews: ") == (line or "")


def test_one_row_of_a_rare_label_condemns_no_file() -> None:
    label_ids = np.where(np.arange(1000) < 997, np.arange(1000) % 2, 2)
    gate = _compare(1000, worse=1, label_ids=label_ids)
    assert _list_missed(gate) == ["max_macro_f1_drop"]
    assert _list_missed(gate | {"not_judged": ["max_macro_f1_drop"]}) == []
    broken = _compare(1000, worse=900, label_ids=label_ids) | {"not_judged": ["max_macro_f1_drop"]}
    assert _list_missed(broken) == ["min_agreement", "max_macro_f1_drop"]


def test_a_miss_is_told_with_its_interval() -> None:
    gate = _compare(1000, worse=25)
    low, high = gate["label_agreement_interval"]
    config = ExportConfig(run="run", output="bundle")
    line = f"min_agreement = 0.97, found 0.975 ({low:.4g} to {high:.4g} on 1,000 rows)"
    assert low < 0.97 < 0.975 < high and line in list_missed_bounds(gate, config)


def test_answers_that_are_no_numbers_are_a_miss() -> None:
    reference = _score(np.arange(600) % 3)
    logits = np.full((600, 3), np.nan, dtype=np.float32)
    broken = Scores(logits, logits, reference.label_ids, reference.tokens, reference.truncated, reference.unknown)
    gate = _compare(600) | compare(broken, reference, reference.label_ids)
    assert list_missed_bounds(gate, ExportConfig(run="", output="")) == ["max_mean_difference = 0.02, found nan"]


def test_the_mean_difference_is_judged_by_the_upper_end_of_its_interval() -> None:
    reference, label_ids = _score(np.arange(1000) % 3), np.arange(1000) % 3
    moved = _score(label_ids)
    moved.probabilities[::10] += 0.19  # 0.019 on average, up to 0.0225
    gate = _compare(1000) | compare(moved, reference, label_ids)
    assert gate["mean_probability_difference"] < 0.02
    assert _list_missed(gate) == ["max_mean_difference"]
    assert _list_missed(gate, max_mean_difference=0.025) == []


def _answer(share: float, labels: Sequence[str] = LABELS, constant: int | None = None) -> NDArray[np.int64]:
    """Answers to the suite of which about this share is right, the others drawn by chance."""
    rng, ids = np.random.default_rng(0), label2id(labels)
    right = np.array([ids.get(case.expected or "", 0) for case in CASES])
    drawn = rng.integers(0, len(labels), len(CASES)) if constant is None else np.full(len(CASES), constant)
    return np.where(rng.random(len(CASES)) < share, right, drawn)


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_the_suite_judges_a_model_that_clearly_knows_it(share: float, language: str | None) -> None:
    assert explain_no_suite(CASES, _answer(share), LABELS, language) is None


@pytest.mark.parametrize(
    ("label_ids", "labels", "language", "reason"),
    [
        (_answer(0.0), LABELS, None, "one label for all of them passes"),  # a model of another language
        (_answer(0.05), LABELS, "en", "the checkpoint itself passes"),
        *((_answer(0.0, constant=each), LABELS, None, "the checkpoint itself passes") for each in range(3)),
        (_answer(1.0), LABELS, "de", r"in another language \(de\)"),
        (_answer(1.0), LABELS, "fr", r"in another language \(fr\)"),
        (_answer(1.0, ("schlecht", "gut")), ("schlecht", "gut"), None, "none of the model's labels"),
    ],
)
def test_the_suite_does_not_judge_a_model_of_another_language(
    label_ids: NDArray[np.int64], labels: tuple[str, ...], language: str | None, reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(explain_no_suite(CASES, label_ids, labels, language))
    gate = _compare(600) | {"suite_drop": 0.3}
    assert _list_missed(gate) == ["max_suite_drop"]
    assert _list_missed(gate | {"not_judged": ["max_suite_drop"]}) == []


def _write_train(prepared: Path, num_rows: int) -> list[str]:
    texts = [f"review {number}" for number in range(num_rows)]
    (prepared / "train").mkdir(parents=True)
    for part in range(3):
        parquet.write_table(pa.table({"text": texts[part::3]}), prepared / f"train/{part}.parquet")
    return texts


@pytest.mark.parametrize(
    ("num_train", "num_gate", "num_texts", "reason"),
    [
        (5000, 0, 1000, None),
        (5000, 1000, 1000, None),  # the gate uses training rows, because there are no others
        (300, 200, 100, None),
        (66, 20, 46, "only 46 training rows are not in its gate"),
    ],
)
def test_static_int8_is_calibrated_on_training_rows_that_its_gate_does_not_use(
    tmp_path: Path, num_train: int, num_gate: int, num_texts: int, reason: str | None
) -> None:
    texts = _write_train(tmp_path, num_train)
    gate_texts = texts[:: len(texts) // num_gate][:num_gate] if num_gate else ["a validation review"]
    chosen = choose_static_calibration(tmp_path, gate_texts, "validation")
    assert set(chosen.texts).isdisjoint(gate_texts) and set(chosen.texts) < set(texts)
    assert len(chosen.texts) == len(set(chosen.texts)) == num_texts
    assert chosen.describe() == {"split": "train", "rows": min(num_texts, CALIBRATION_TEXTS), "reason": reason}


def test_static_int8_says_that_it_was_calibrated_on_the_rows_of_its_gate(tmp_path: Path) -> None:
    texts = _write_train(tmp_path, 10)
    chosen = choose_static_calibration(tmp_path, texts, "train")
    assert chosen.texts == texts
    (sentence,) = list_sentences(Exported({}, {}, {"static_calibration": chosen.describe()}))
    assert sentence == (
        "int8_static measured its activations on 10 train rows: no training rows are left beside those of its gate."
    )
