"""The file and the number of streams are those that were fastest here, and are measured once."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.inference import streams
from sentiment_ray.inference.choice import Pair
from sentiment_ray.inference.machine_cache import find_cache_directory
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.streams import Goal, Setup, choose_setup

GOLDEN = Path(__file__).parent.parent / "golden" / "bundle"
MANIFEST = open_bundle(GOLDEN).manifest
PAIRS = [("openvino", "int8_weights"), ("openvino", "fp32"), ("onnxruntime", "fp32")]


class SleepingScorer:
    """Takes so many seconds for a call, whatever its texts are, or one call after the other."""

    def __init__(self, seconds: float, *, one_by_one: bool) -> None:
        self._seconds = seconds
        self._lock = threading.Lock() if one_by_one else threading.Semaphore(99)

    def score(self, texts: Sequence[str], *, tokens_per_batch: int | None = None) -> Any:
        with self._lock:
            time.sleep(self._seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(streams, "MEASURE_S", 0.03)
    monkeypatch.setattr(streams, "TRIAL_TEXTS", 8)


def _choose(
    goal: Goal,
    seconds: dict[Setup, float],
    *,
    manifest: Manifest = MANIFEST,
    pairs: Sequence[Pair] = PAIRS,
    num_threads: int = 2,
) -> tuple[Setup, list[Setup]]:
    """Choose among setups that take some seconds for a call; return the choice and what was loaded."""
    loaded: list[Setup] = []

    def load(setup: Setup) -> SleepingScorer:
        loaded.append(setup)
        return SleepingScorer(seconds[setup], one_by_one=setup.num_streams == 1)

    return choose_setup(manifest, pairs, goal, load, num_threads=num_threads), loaded


def test_for_latency_the_file_wins_that_scores_one_text_soonest_and_for_throughput_the_first_one() -> None:
    seconds = {Setup(pair, count): 0.004 * count for pair in PAIRS for count in (1, 2)}
    seconds[Setup(PAIRS[1], 1)] = 0.002
    seconds[Setup(PAIRS[0], 2)] = 0.005
    best, loaded = _choose("latency", seconds)
    assert best == Setup(PAIRS[1], 1)
    assert loaded == [*(Setup(pair, 1) for pair in PAIRS), Setup(PAIRS[1], 1), Setup(PAIRS[1], 2)]
    assert _choose("throughput", seconds) == (Setup(PAIRS[0], 2), [Setup(PAIRS[0], 1), Setup(PAIRS[0], 2)])


def test_a_setup_is_measured_once_and_again_when_the_result_is_damaged() -> None:
    seconds = {Setup(pair, count): 0.002 for pair in PAIRS for count in (1, 2)}
    first, loaded = _choose("throughput", seconds)
    assert len(loaded) == 2
    assert _choose("throughput", seconds) == (first, [])
    (file,) = (find_cache_directory() / "streams").iterdir()
    file.write_text('{"pair": ["openvino", "none"], "num_streams": 2}')
    assert len(_choose("throughput", seconds)[1]) == 2


def test_for_latency_each_engine_takes_part_with_one_file_in_int8_and_one_of_another_precision() -> None:
    variants = {**MANIFEST.variants, "optimized": MANIFEST.variants["fp32"], "int8": MANIFEST.variants["int8_weights"]}
    manifest = MANIFEST.model_copy(update={"variants": variants})
    pairs = [(engine, variant) for engine in ("openvino", "onnxruntime") for variant in reversed(variants)]
    seconds = {Setup(pair, 1): 0.002 for pair in pairs}
    _, loaded = _choose("latency", seconds, manifest=manifest, pairs=pairs, num_threads=1)
    taking_part = [(engine, name) for engine in ("openvino", "onnxruntime") for name in ("int8", "optimized")]
    assert [setup.pair for setup in loaded] == taking_part


def test_nothing_is_measured_where_there_is_one_candidate() -> None:
    assert _choose("throughput", {}, pairs=PAIRS[:1], num_threads=1) == (Setup(PAIRS[0], 1), [])


def test_a_setup_that_fails_does_not_win(caplog: pytest.LogCaptureFixture) -> None:
    seconds = {Setup(pair, 1): 0.002 for pair in PAIRS[1:]}
    seconds[Setup(PAIRS[1], 1)] = 0.001
    assert _choose("latency", seconds)[0] == Setup(PAIRS[1], 1)
    assert "cannot be used here" in caplog.text


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_a_predictor_for_a_goal_answers_as_any_other(goal: Goal) -> None:
    predictor = Predictor.load(GOLDEN, threads=2, optimize_for=goal)
    assert predictor.num_streams in (1, 2)
    same = Predictor.load(GOLDEN, engine=predictor.engine, variant=predictor.variant, threads=2)
    texts = ["good", "The bus leaves at nine."]
    assert predictor.score(texts).logits.tobytes() == same.score(texts).logits.tobytes()
