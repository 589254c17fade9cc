"""A training that ended says how it went: steps, rows that were cut, the majority, and what an earlier run knew."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.manifest import read_json, write_json
from sentiment_ray.text.truncation import HEAD
from sentiment_ray.train import closing
from sentiment_ray.train.baseline import checkpoint_metrics
from sentiment_ray.train.closing import show_closing, show_truncation
from sentiment_ray.train.config import Distill, TrainConfig
from sentiment_ray.train.continual import _find_changed_keys
from sentiment_ray.train.lengths import MAX_ROWS, count_truncated_rows, sample_texts
from sentiment_ray.train.overlap import find_known_rows, leave_out_held_out_rows
from sentiment_ray.train.preflight import with_absolute_paths
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.shards import _read_parts, count_rows, plan_parts, split_source
from sentiment_ray.train.teacher import find_teacher_rows
from tests.conftest import LABELS


@pytest.fixture
def told(run: Path) -> dict[str, Any]:
    """The content of run.json of a good training."""
    return copy.deepcopy(read_json(run / "run.json"))


def _write_split(path: Path, texts: list[str], *, row_group_size: int | None = None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    labels = [LABELS[row % 3] for row in range(len(texts))]
    parquet.write_table(pa.table({"text": texts, "label": labels}), path / "0.parquet", row_group_size=row_group_size)


def _write_prepared(directory: Path, splits: dict[str, list[str]]) -> PreparedReviews:
    for split, texts in splits.items():
        _write_split(directory / split, texts)
    return PreparedReviews(directory, LABELS, {split: len(texts) for split, texts in splits.items()}, {}, ())


def test_a_run_has_the_facts_and_shows_them_in_a_short_block(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show_closing(told)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 10
    assert lines[0].startswith(f"The best checkpoint, of epoch {told['best']['epoch']}, has macro-F1 ")
    assert "for all of them would give" in lines[0] and "the model before training gave" in lines[0]
    for epoch in told["history"]:
        assert sum(epoch["predicted_rows"]) == epoch["rows"] == sum(told["rows_by_label"]["validation"].values())
    assert {split: counts["rows"] for split, counts in told["truncated"].items()} == {
        split: sum(rows.values()) for split, rows in told["rows_by_label"].items()
    }


def test_the_majority_is_measured_as_scikit_learn_does(told: dict[str, Any]) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    rows = told["rows_by_label"]["validation"]
    truth = [label for label, count in rows.items() for _ in range(count)]
    majority = closing._measure_majority(told)
    assert majority is not None
    answers = [majority["label"]] * len(truth)
    assert majority["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert majority["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro", zero_division=0))


def test_few_steps_are_a_warning(told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    told["history"] = [epoch | {"steps": 1} for epoch in told["history"][:2]]
    assert "Only 2 steps were taken" in (closing.warn_of_few_steps(told) or "")
    show_closing(told)
    assert "warning: Only 2 steps" in capsys.readouterr().err
    told["history"] = [epoch | {"steps": 25} for epoch in told["history"]]
    assert closing.warn_of_few_steps(told) is None


@pytest.mark.parametrize(
    ("predicted", "sentence"),
    [
        ([57, 0, 0], "gives one label alone, 'negative', to all 57 validation rows"),
        ([0, 0, 57], "gives one label alone, 'positive'"),
        ([30, 0, 27], "never gives the label 'neutral', which "),
        ([19, 19, 19], None),
    ],
)
def test_labels_that_are_never_given_are_a_warning(
    told: dict[str, Any], predicted: list[int], sentence: str | None
) -> None:
    for epoch in told["history"]:
        epoch["predicted_rows"] = predicted
    warning = closing.warn_of_unused_labels(told)
    assert warning is None if sentence is None else sentence in (warning or "")


def test_a_model_that_learned_nothing_is_compared_with_what_it_should_beat(told: dict[str, Any]) -> None:
    told["best"]["metrics"]["macro_f1"] = 0.05
    warning = closing.warn_of_no_gain(told) or ""
    assert "than one label for all rows or the model before training" in warning
    told["best"]["metrics"]["macro_f1"] = 0.99
    assert closing.warn_of_no_gain(told) is None


def test_labels_without_rows_are_named(told: dict[str, Any]) -> None:
    assert closing.warn_of_labels_without_rows(told) is None
    told["rows_by_label"]["test"]["neutral"] = 0
    told["rows_by_label"]["validation"].pop("positive")
    warning = closing.warn_of_labels_without_rows(told) or ""
    assert "'positive' in the validation split; 'neutral' in the test split. Their F1 counts as 0" in warning
    told["rows_by_label"]["test"] = dict.fromkeys(LABELS, 0)  # an empty split is no fault of a label
    assert "test" not in (closing.warn_of_labels_without_rows(told) or "")


@pytest.mark.parametrize(
    ("rows", "sentence"), [(9, "9 validation rows say little"), (49, "each row is 2%"), (50, None)]
)
def test_few_measured_rows_are_a_warning(told: dict[str, Any], rows: int, sentence: str | None) -> None:
    told["rows_by_label"]["validation"] = dict(zip(LABELS, (rows - 2, 1, 1), strict=True))
    warning = closing.warn_of_few_measured_rows(told)
    assert warning is None if sentence is None else sentence in (warning or "")


def test_the_closing_block_has_ten_lines_at_most_and_all_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    facts = [lambda _, number=number: f"fact {number}" for number in range(8)]
    warnings = [lambda _, number=number: f"problem {number}" for number in range(5)]
    closing.show_sentences({}, facts, [*warnings, lambda _: None])
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"fact {number}" for number in range(5)] + [f"warning: problem {number}" for number in range(5)]


def test_what_was_gained_and_lost_is_said(told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    metrics = told["history"][0] | {"split": "test"}
    old, new = ({"before": metrics | {"macro_f1": before}, "after": metrics | {"macro_f1": after}} for before, after in
                ((1.0, 0.558), (0.333, 0.573)))  # fmt: skip
    told["earlier"] = {"old": old, "new": new, "known_new_rows": 9, "leaves_out_known": True}
    told["earlier"]["changed_keys"] = {"max_tokens": (48, 128)}
    show_closing(told)
    shown = capsys.readouterr().err
    assert "On the new reviews macro-F1 went from 0.333 to 0.573." in shown
    assert (
        "warning: On the old reviews, those of the earlier run, macro-F1 was lost: it fell from 1.000 to 0.558" in shown
    )
    assert "trained on the texts of 9 of the " in shown
    assert "max_tokens = 128 (earlier 48)" in shown
    old["after"]["macro_f1"] = 0.99
    show_closing(told)
    assert "macro-F1 went from 1.000 to 0.990" in capsys.readouterr().err


def test_a_run_of_an_earlier_release_is_described_as_far_as_it_goes(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("rows_by_label", "truncated", "teacher_rows_left_out"):
        del told[key]
    told["history"] = [
        {key: value for key, value in epoch.items() if key not in ("steps", "predicted_rows")}
        for epoch in told["history"]
    ]
    show_closing(told)
    assert len(capsys.readouterr().err.splitlines()) >= 1


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail", "windows"])
def test_the_share_of_rows_that_are_cut_is_said_before_the_training(
    truncation: str, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {
        "train": ["It is good."] * 6 + ["it " * 90] * 2,
        "validation": ["It is bad."],
        "test": ["so " * 400] * 2,
    }
    prepared = _write_prepared(tmp_path, splits)
    keys = {"max_tokens": 32, "truncation": truncation, **({"max_windows": 8} if truncation == "windows" else {})}
    config = TrainConfig(output="run", prepared=str(tmp_path), model=str(tiny_encoder), **keys)
    counts = count_truncated_rows(config, prepared)
    cut = [2, 0, 2] if truncation != "windows" else [0, 0, 2]  # eight windows read all of 90 words
    assert [counts[split]["truncated_rows"] for split in splits] == cut
    show_truncation({"config": config.model_dump(mode="json"), "truncated": counts})
    (line,) = capsys.readouterr().err.splitlines()
    shares = f"{cut[0] / 8:.0%} of the training rows, 0% of the validation rows, 100% of the test rows"
    assert line.startswith(f"Longer than max_tokens = 32: {shares}. Of those, the model reads ")
    assert repr(truncation) not in line.partition("A larger max_tokens")[2]


def test_a_small_share_of_rows_that_are_cut_is_not_said_to_be_none(told: dict[str, Any]) -> None:
    told["truncated"] = {"train": {"rows": 900, "sampled_rows": 900, "truncated_rows": 1}}
    assert "under 1% of the training rows" in (closing.describe_truncation(told) or "")


def test_rows_that_are_read_whole_need_no_line(told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    told["truncated"] = {"train": {"rows": 9, "sampled_rows": 9, "truncated_rows": 0}}
    show_truncation(told)
    assert capsys.readouterr().err == ""


def test_a_large_split_is_sampled_from_all_of_it(tmp_path: Path) -> None:
    texts = [str(row) for row in range(20 * MAX_ROWS)]
    _write_split(tmp_path, texts, row_group_size=MAX_ROWS)
    sample = [int(text) for text in sample_texts(tmp_path)]
    assert len(set(sample)) == len(sample) == MAX_ROWS
    assert min(sample) == 0 and max(sample) == len(texts) - 1
    _write_split(tmp_path, texts[:7], row_group_size=2)
    assert sample_texts(tmp_path) == texts[:7]


def test_texts_that_an_earlier_run_was_trained_on_are_left_out_of_its_figures(
    run: Path, prepared: Path, tmp_path: Path
) -> None:
    known = parquet.read_table(prepared / "train")["text"].to_pylist()[:5]
    fresh = ["Nobody has read this sentence.", "Nor this one, which is good.", "A third."]
    otherwise_written = [f" {known[0].upper()}", known[1].replace(" ", "\n\t"), f"<b>{known[2]}</b>", *known[3:]]
    _write_split(tmp_path / "new", known + fresh)
    _write_split(tmp_path / "old", ["Another text.", *otherwise_written])
    assert find_known_rows(tmp_path / "new", tmp_path / "old", steps=["strip_tags"]) == known
    texts = frozenset(find_known_rows(tmp_path / "new", prepared / "train", steps=()))
    assert texts == frozenset(known)
    checkpoint = run / read_json(run / "run.json")["best"]["checkpoint"]
    metrics = checkpoint_metrics(checkpoint, tmp_path / "new", LABELS, max_tokens=32, truncation=HEAD, left_out=texts)
    assert metrics["rows"] == len(fresh)


def test_held_out_texts_among_the_rows_of_a_teacher_are_not_read(tmp_path: Path) -> None:
    """A text is held out however it is written, in every row group of every file, and for every worker."""
    splits = {"train": ["a"], "validation": ["B b", "c", "both"], "test": ["d", "e http", "f", "both"]}
    prepared = replace(_write_prepared(tmp_path, splits), cleaning_steps=("mask_urls",))
    scores = tmp_path / "scores"
    scores.mkdir()
    texts = [["a", "c", "new 1", "E https://a.b", "f", " f"], ["b\nB", "new 2", "both", "new 3"]]
    for number, some in enumerate(texts):
        columns = {f"sentiment_{label}": [0.3] * len(some) for label in LABELS}
        parquet.write_table(pa.table({"text": some, **columns}), scores / f"{number}.parquet", row_group_size=3)
    parts = [{"path": f"{number}.parquet"} for number in range(2)]
    manifest = {"config": {"text_column": ["text"]}, "parts": parts, "fingerprint": "0"}
    write_json(scores / "_MANIFEST.json", manifest)

    source, counts = leave_out_held_out_rows(find_teacher_rows(Distill(scores=str(scores)), LABELS), prepared)
    assert counts == {"validation": 3, "test": 3}
    planned = plan_parts([source, split_source(tmp_path, "train")], seed=0)
    assert count_rows(planned) == 5
    indices = pa.table({"part": list(range(len(planned)))})
    read = [
        text
        for rank in range(2)
        for table in _read_parts(indices, parts=planned, rank=rank, world_size=2)
        for text in table["text"].to_pylist()
    ]
    assert sorted(read) == ["a", "a", "new 1", "new 2", "new 3"]
    sentence = closing.describe_teacher_rows({"teacher_rows_left_out": counts}) or ""
    assert "left out" in sentence and "3 in the validation split and 3 in the test split" in sentence
    assert closing.describe_teacher_rows({"teacher_rows_left_out": {"validation": 0, "test": 0}}) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (48, "windows", 4)),
        ({"max_tokens": 64}, (64, "windows", 4)),
        ({"truncation": "head"}, (48, "head", 16)),
        ({"truncation": "windows", "max_windows": 2}, (48, "windows", 2)),
        ({"max_tokens": 20, "truncation": "tail"}, (20, "tail", 16)),
    ],
)
def test_a_training_that_goes_on_reads_texts_as_before_unless_told_otherwise(
    given: dict[str, Any], expected: tuple[int, str, int], run: Path, tmp_path: Path
) -> None:
    trained = read_json(run / "run.json")
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    changes = {"max_tokens": 48, "truncation": "windows", "max_windows": 4}
    write_json(earlier / "run.json", trained | {"config": trained["config"] | changes})
    config = TrainConfig(output=str(tmp_path / "out"), prepared=str(tmp_path), start_from=str(earlier), **given)
    inspected = {(str(earlier / trained["best"]["checkpoint"]), None): read_json(
        earlier / trained["best"]["checkpoint"] / "config.json")}  # fmt: skip
    config = with_absolute_paths(config, inspected)
    assert (config.max_tokens, config.truncation, config.max_windows) == expected


def test_keys_that_differ_from_an_earlier_run_are_found() -> None:
    before = {"max_tokens": 48, "warmup_share": 0.1, "learning_rate": 1e-4, "seed": 0, "num_workers": 1}
    now = {"max_tokens": 128, "warmup_ratio": 0.2, "learning_rate": 1e-4, "seed": 1, "num_workers": 2, "later": 1}
    assert _find_changed_keys(before, now) == {"max_tokens": (48, 128), "warmup_ratio": (0.1, 0.2)}
