"""A profile counts scored texts, adds up, and shows what has changed."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray import Predictor
from sentiment_ray.inference.drift import (
    MEASURES,
    add_profiles,
    compute_chance_drift,
    compute_drift,
    compute_profile,
    describe_drift,
)
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.text.encoding import encode, load_encoder
from tests.conftest import LABELS, NASTY_TEXTS


def _scores(probabilities: NDArray[np.float64], *, tokens: int = 8, unknown: int = 0) -> Scores:
    num_texts = len(probabilities)
    values = np.asarray(probabilities, dtype=np.float32).reshape(num_texts, len(LABELS))
    return Scores(
        logits=values,
        probabilities=values,
        label_ids=values.argmax(axis=1),
        tokens=np.full(num_texts, tokens, dtype=np.int32),
        truncated=np.zeros(num_texts, dtype=np.bool_),
        unknown=np.full(num_texts, unknown, dtype=np.int32),
    )


def _random_profile(num_texts: int, seed: int, *, favour: int = 1) -> dict[str, object]:
    values = np.random.default_rng(seed).dirichlet([1, 1, favour], size=num_texts)
    return compute_profile(["tea"] * num_texts, _scores(values), LABELS)


def test_real_texts_are_counted_once_in_every_measure(predictor: Predictor, everyday: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in everyday] + list(NASTY_TEXTS)
    scores = predictor.score(texts)
    profile = compute_profile(texts, scores, LABELS)
    assert json.loads(json.dumps(profile)) == profile
    assert {measure: sum(profile[measure].values()) for measure in MEASURES} == {
        "labels": len(texts),
        "confidence": len(texts),
        "tokens": len(texts),
        "script": len(texts),
        "words": scores.tokens.sum(),
    }
    assert profile["labels"] == {label: int((scores.label_ids == id_).sum()) for id_, label in enumerate(LABELS)}
    assert profile["truncated"] == scores.truncated.sum() > 0
    assert profile["script"]["arabic"] == 1


def test_unknown_tokens_are_counted_for_each_text(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)
    unknown_id = encoder.tokenizer.token_to_id("[UNK]")
    encoded = encode(encoder, ["tea", "ΩΩ tea ΩΩ", "ΩΩ"])
    assert encoded.num_unknown.tolist() == [0, 2, 1]
    assert encoded.num_unknown.tolist() == [(ids == unknown_id).sum() for ids in encoded.ids]


def test_no_texts_have_an_empty_profile(predictor: Predictor) -> None:
    profile = compute_profile([], predictor.score([]), LABELS)
    assert profile["rows"] == 0
    assert profile["labels"] == dict.fromkeys(LABELS, 0)
    assert compute_drift(_random_profile(9, seed=0), profile) == {}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("  12 teas", "latin"),
        ("Ａ", "latin"),
        ("👍🏽 чай", "cyrillic"),
        ("τσάι", "greek"),
        ("شاي", "arabic"),
        ("תה", "hebrew"),
        ("चाय", "devanagari"),
        ("茶", "cjk"),
        ("お茶", "kana"),
        ("ﾁｬ", "kana"),
        ("차", "hangul"),
        ("ชา", "thai"),
        ("ჩაი", "other"),
        ("12 👍🏽", "none"),
        ("", "none"),
    ],
)
def test_the_script_is_that_of_the_first_letter(text: str, script: str) -> None:
    assert compute_profile([text], _scores(np.ones((1, 3))), LABELS)["script"] == {script: 1}


@pytest.mark.parametrize(
    ("tokens", "name"), [(1, "1-4"), (4, "1-4"), (5, "5-8"), (8, "5-8"), (9, "9-16"), (512, "257-512")]
)
def test_token_bins_end_at_powers_of_two(tokens: int, name: str) -> None:
    assert compute_profile(["tea"], _scores(np.ones((1, 3)), tokens=tokens), LABELS)["tokens"] == {name: 1}


def test_a_probability_of_one_is_in_the_last_of_twenty_bins() -> None:
    confidence = compute_profile(["tea"] * 2, _scores(np.array([[1, 0, 0], [0.42, 0.3, 0.28]])), LABELS)["confidence"]
    assert len(confidence) == 20
    assert {name for name, count in confidence.items() if count} == {"0.40-0.45", "0.95-1.00"}


def test_the_profiles_of_parts_add_up_to_that_of_the_whole() -> None:
    values = np.random.default_rng(0).dirichlet([1, 1, 1], size=100)
    texts = ["tea", "чай", "茶", "12"] * 25
    whole = compute_profile(texts, _scores(values, unknown=2), LABELS)
    parts = [
        compute_profile(texts[rows], _scores(values[rows], unknown=2), LABELS) for rows in (slice(7), slice(7, None))
    ]
    assert add_profiles(parts) == whole
    assert add_profiles([]) == {"rows": 0, "truncated": 0} | {measure: {} for measure in MEASURES}


def test_equal_profiles_have_an_index_of_zero_and_samples_of_one_source_are_stable() -> None:
    profile = _random_profile(2000, seed=0)
    assert compute_drift(profile, profile) == dict.fromkeys(MEASURES, 0.0)
    again = compute_drift(profile, _random_profile(2000, seed=1))
    assert {describe_drift(index) for index in again.values()} == {"stable"}
    chance = compute_chance_drift(profile, profile)
    assert all(index <= 2 * chance[measure] for measure, index in again.items())


def test_the_index_equals_the_sum_computed_by_hand() -> None:
    reference, profile = (
        {measure: {"a": round(share * 10**6), "b": round((1 - share) * 10**6)} for measure in MEASURES}
        for share in (0.5, 0.7)
    )
    expected = 0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5)
    assert compute_drift(reference, profile)["labels"] == pytest.approx(expected, abs=1e-4)


def test_only_the_measures_that_change_drift() -> None:
    reference = _random_profile(2000, seed=0)
    shifted = compute_drift(reference, _random_profile(2000, seed=1, favour=6))
    assert describe_drift(shifted["labels"]) == "drifted"
    assert shifted["script"] == 0
    foreign = compute_profile(["чай"] * 2000, _scores(np.ones((2000, 3)), unknown=4), LABELS)
    assert min(compute_drift(reference, foreign)[measure] for measure in ("script", "words")) > 0.25
    assert np.isfinite(list(compute_drift(reference, foreign).values())).all()


@pytest.mark.parametrize(
    ("index", "word"), [(0, "stable"), (0.099, "stable"), (0.1, "moved"), (0.25, "moved"), (0.26, "drifted")]
)
def test_an_index_has_its_usual_word(index: float, word: str) -> None:
    assert describe_drift(index) == word


def test_with_few_rows_chance_alone_explains_a_large_index() -> None:
    few, many = _random_profile(30, seed=0), _random_profile(5000, seed=1)
    assert compute_chance_drift(few, many)["confidence"] > 0.25 > compute_chance_drift(many, many)["confidence"]
