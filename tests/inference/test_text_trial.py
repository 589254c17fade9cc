"""A text's bits count as the same in every batch only where a trial of texts of real lengths found no difference."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import BundleError
from sentiment_ray.inference import invariance
from sentiment_ray.inference.engines import Engine, load_engine
from sentiment_ray.inference.engines.openvino_engine import OpenVinoEngine
from sentiment_ray.inference.hardware import read_processor
from sentiment_ray.inference.invariance import TEXTS_ON_CPU, join_long_texts, make_record, try_texts
from sentiment_ray.inference.machine_cache import find_cache_directory
from sentiment_ray.inference.predictor import PackedBundle, pack_bundle
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.inference.short_trial import SHORT_BATCHES, passes_short_trial
from sentiment_ray.inference.trial_texts import make_trial_texts
from sentiment_ray.score.distinct_texts import choose_cache
from sentiment_ray.text.encoding import TextEncoder, encode, load_encoder
from tests.inference.two_kernels import TwoKernelEngine

UNTRIED_LENGTHS = range(17, 25)
"""Lengths of the rows of a batch that the short trial does not have."""


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def kernels(bundle: Path) -> tuple[Engine, Engine]:
    """Two fp32 engines, each invariant, whose logits differ in the last bits alone."""
    model = open_bundle(bundle).model("fp32")
    openvino = OpenVinoEngine(model, 2, precision="f32")
    return openvino, load_engine("onnxruntime", model, threads=2, source="model.onnx")


@pytest.fixture
def long_rows_change(kernels: tuple[Engine, Engine]) -> TwoKernelEngine:
    """An engine that computes long rows otherwise when there are several, as cuBLAS does: the short trial is blind."""
    assert not set(UNTRIED_LENGTHS) & set(SHORT_BATCHES)
    return TwoKernelEngine(*kernels, lambda ids: len(ids) > 1 and ids.shape[1] in UNTRIED_LENGTHS)


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> TextEncoder:
    return load_encoder(bundle / "tokenizer.json", max_tokens=32)


@pytest.fixture(scope="module")
def texts(everyday: list[tuple[str, str]], encoder: TextEncoder) -> list[str]:
    """Texts of 4 to 32 tokens, several of each length."""
    sentences = [text for text, _ in everyday]
    return [*sentences, *join_long_texts(encoder, sentences)]


def _pack(bundle: Path, record: Any) -> PackedBundle:
    """Return the bundle with OpenVINO and fp32, and with another record of the trial; None stands for no record."""
    packed = pack_bundle(bundle, engine="openvino", variant="fp32")
    variant = packed.manifest.variants["fp32"]
    gate = {key: value for key, value in variant.gate["openvino"].items() if key != "batch_invariance"}
    gate |= {"batch_invariance": record} if record else {}
    changed = variant.model_copy(update={"gate": variant.gate | {"openvino": gate}})
    return replace(packed, manifest=packed.manifest.model_copy(update={"variants": {"fp32": changed}}))


def _record(differing: int = 0, **changes: Any) -> dict[str, Any]:
    trial = invariance.Trial(texts=9, texts_alone=9, longest=32, tokens_per_batch=2048, differing=differing)
    return make_record(trial, "openvino") | changes


@pytest.fixture
def load(bundle: Path, monkeypatch: pytest.MonkeyPatch, cache_home: Path) -> Callable[[Engine, Any], Predictor]:
    """Takes an engine and the record of a trial, and returns a Predictor of them with an empty cache of the machine."""

    def make(engine: Engine, record: Any) -> Predictor:
        monkeypatch.setattr("sentiment_ray.inference.predictor.load_engine", lambda *_, **__: engine)
        return Predictor(_pack(bundle, record), threads=2)

    return make


def test_the_trial_of_texts_sees_what_the_short_one_does_not(
    long_rows_change: TwoKernelEngine, kernels: tuple[Engine, Engine], encoder: TextEncoder, texts: list[str]
) -> None:
    assert passes_short_trial(long_rows_change, encoder, tokens_per_batch=2048)
    trial = try_texts(long_rows_change, encoder, texts, tokens_per_batch=2048)
    lengths = encode(encoder, texts).lengths
    assert 0 < trial.differing <= np.isin(lengths, UNTRIED_LENGTHS).sum()
    assert (trial.texts, trial.longest) == (len(texts), 32)
    assert try_texts(kernels[0], encoder, texts, tokens_per_batch=2048).differing == 0
    at_first = try_texts(long_rows_change, encoder, texts, tokens_per_batch=2048, stop_early=True)
    assert 0 < at_first.differing <= trial.differing


@pytest.mark.parametrize(
    "changes",
    [
        lambda ids: len(ids) == 1,
        lambda ids: len(ids) > 9,
        lambda ids: ids.size > 600,
        lambda ids: 400 < ids.size <= 512,
        lambda ids: ids.shape[1] == 32 and len(ids) % 2 == 0,
    ],
)
def test_the_trial_of_texts_sees_every_change_of_kernels(
    kernels: tuple[Engine, Engine],
    encoder: TextEncoder,
    texts: list[str],
    changes: Callable[[NDArray[np.int64]], bool],
) -> None:
    assert try_texts(TwoKernelEngine(*kernels, changes), encoder, texts, tokens_per_batch=2048).differing > 0


def test_texts_are_joined_up_to_the_longest_that_is_read(everyday: list[tuple[str, str]], bundle: Path) -> None:
    sentences = [text for text, _ in everyday][:50]
    encoder = load_encoder(bundle / "tokenizer.json", max_tokens=60)
    lengths, before = (encode(encoder, texts).lengths for texts in (join_long_texts(encoder, sentences), sentences))
    assert before.max() < lengths.max() == 60
    assert len(set(lengths)) > 6 and (lengths > before.max()).mean() > 0.8
    assert join_long_texts(encoder, ["word " * 100, "tea"]) == []


def test_scores_that_are_known_are_not_computed_again(
    long_rows_change: TwoKernelEngine, encoder: TextEncoder, texts: list[str]
) -> None:
    computed = try_texts(long_rows_change, encoder, texts, tokens_per_batch=2048)
    scores = score_texts(long_rows_change, encoder, texts, tokens_per_batch=2048)
    alone = np.concatenate([score_texts(long_rows_change, encoder, [text]).logits for text in texts])
    long_rows_change.num_calls = 0
    known = try_texts(long_rows_change, encoder, texts, tokens_per_batch=2048, together=scores.logits, alone=alone)
    assert long_rows_change.num_calls < len(texts) / 2
    assert known.texts_alone == len(texts) and known.differing >= computed.differing > 0
    alone[3] += 1
    usual = try_texts(long_rows_change._usual, encoder, texts, tokens_per_batch=2048, alone=alone)
    assert usual.differing >= 1


@pytest.mark.parametrize("reference", [{}, {"1-4": 5, "17-32": 5}, {"5-8": 3, "257-512": 1}])
def test_texts_that_are_made_have_the_lengths_of_a_profile(encoder: TextEncoder, reference: dict[str, int]) -> None:
    made = make_trial_texts(200, max_tokens=32, reference=reference)
    assert made == make_trial_texts(200, max_tokens=32, reference=reference)
    lengths = encode(encoder, made).lengths
    assert len(made) == 200 and lengths.max() == 32
    if "1-4" in reference:
        num_words = np.array([len(text.split()) for text in made])
        assert 0.3 < (num_words <= 4).mean() < 0.7 and not ((num_words > 4) & (num_words < 17)).any()


def test_a_record_without_a_difference_and_the_short_trial_make_a_yes(
    load: Callable[[Engine, Any], Predictor], kernels: tuple[Engine, Engine], cache_home: Path
) -> None:
    assert load(kernels[0], _record()).is_batch_invariant()
    assert not load(TwoKernelEngine(*kernels, lambda ids: len(ids) > 2), _record()).is_batch_invariant()
    assert not cache_home.exists()


def test_a_record_with_a_difference_is_a_no_without_a_trial(
    load: Callable[[Engine, Any], Predictor], kernels: tuple[Engine, Engine]
) -> None:
    engine = TwoKernelEngine(*kernels, lambda ids: False)
    predictor = load(engine, _record(differing=1))
    engine.num_calls = 0
    assert not predictor.is_batch_invariant()
    assert engine.num_calls == 0


@pytest.mark.parametrize(
    "record",
    [
        None,
        _record(version="1.0"),
        _record(instruction_sets=[*read_processor().instruction_sets, "another"]),
        _record(tokens_per_batch=512),
    ],
)
def test_without_a_record_of_such_a_machine_the_trial_of_texts_is_made_here_once(
    load: Callable[[Engine, Any], Predictor], long_rows_change: TwoKernelEngine, record: Any
) -> None:
    predictor = load(long_rows_change, record)
    assert not predictor.is_batch_invariant()
    (file,) = (find_cache_directory() / "batch-invariance").iterdir()
    assert json.loads(file.read_text())["texts"] == TEXTS_ON_CPU
    calls_until_then = long_rows_change.num_calls
    assert not predictor.is_batch_invariant()
    num_calls_of_short_trial = long_rows_change.num_calls - calls_until_then
    file.write_text('{"differing": "no"')
    assert not predictor.is_batch_invariant()
    assert long_rows_change.num_calls - calls_until_then > 2 * num_calls_of_short_trial + 3
    assert json.loads(file.read_text())["differing"] > 0


def test_where_nothing_can_be_cached_the_trial_is_made_again(
    load: Callable[[Engine, Any], Predictor],
    kernels: tuple[Engine, Engine],
    cache_home: Path,
) -> None:
    cache_home.write_text("a file in the way")
    assert load(kernels[0], None).is_batch_invariant()


def test_only_scores_that_no_batch_changes_are_shared(
    load: Callable[[Engine, Any], Predictor], long_rows_change: TwoKernelEngine
) -> None:
    cache = object()
    assert choose_cache(load(long_rows_change, None), cache, tokens_per_batch=2048) is None
    assert choose_cache(load(long_rows_change, _record(differing=7)), cache, tokens_per_batch=2048) is None
    assert choose_cache(load(long_rows_change, _record()), cache, tokens_per_batch=2048) is cache
    assert choose_cache(load(long_rows_change, _record()), None, tokens_per_batch=2048) is None


@pytest.mark.parametrize("record", [{"differing": 0}, [], _record(differing=-1), _record(version="x" * 101)])
def test_a_record_of_another_form_is_refused(bundle: Path, tmp_path: Path, record: Any) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle/bundle.json").read_text())
    manifest["variants"]["fp32"]["gate"]["openvino"]["batch_invariance"] = record
    (tmp_path / "bundle/bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"variants\.fp32.*openvino: batch_invariance"):
        open_bundle(tmp_path / "bundle")
