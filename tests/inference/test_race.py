"""`auto` takes a GPU where one can be used and wins a race here; without one, nothing is raced."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sentiment_ray import Predictor
from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import BundleError
from sentiment_ray.inference import doctor, predictor, race
from sentiment_ray.inference.bench import measure_bundle
from sentiment_ray.inference.choice import list_gpu_choices, rank_choices
from sentiment_ray.inference.engines import explain_unusable, onnxruntime_engine
from sentiment_ray.inference.predictor import choose
from sentiment_ray.inference.race import pick_fastest, run_race
from sentiment_ray.inference.scoring import Scores
from tests.inference import gpu_engine

GPU = gpu_engine.NAME
CPU = ("onnxruntime", "fp32")


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine on a GPU more in the table, which can be used here."""
    monkeypatch.setitem(ENGINES, GPU, gpu_engine.SPEC)


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return open_bundle(bundle)


class _Runner:
    """Takes a number of ticks for a pass; the clock of the race counts them."""

    def __init__(self, clock: "_Clock", ticks: float) -> None:
        self.clock, self.ticks = clock, ticks

    def score(self, texts: Sequence[str]) -> Scores:
        if self.ticks < 0:
            raise RuntimeError("CUDA failure 2: out of memory\nand a second line")
        self.clock.now += self.ticks
        return None  # type: ignore[return-value]


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(race, "time", made)
    return made


def _race(opened: Bundle, clock: _Clock, seconds: dict[tuple[str, str], float], **keys: Any) -> race.RaceResult:
    return run_race(
        opened.manifest, list(seconds), lambda pair: _Runner(clock, seconds[pair]), **({"threads": None} | keys)
    )


@pytest.mark.parametrize(
    ("seconds", "winner"),
    [
        ({CPU: 1.0, ("cuda", "fp32"): 0.5, ("cuda", "fp16"): 0.2}, ("cuda", "fp16")),
        ({CPU: 1.0, ("cuda", "fp32"): 0.5, ("cuda", "fp16"): 0.49}, ("cuda", "fp32")),
        ({CPU: 1.0, ("cuda", "fp32"): 0.99, ("cuda", "fp16"): 0.97}, CPU),
        ({CPU: 1.0, ("cuda", "fp32"): 9.0, ("cuda", "fp16"): 8.0}, CPU),
        ({CPU: 1.0, ("cuda", "fp32"): -1.0, ("cuda", "fp16"): 0.2}, ("cuda", "fp16")),
        ({CPU: 1.0, ("cuda", "fp32"): -1.0, ("cuda", "fp16"): -1.0}, CPU),
    ],
)
def test_the_fastest_wins_and_of_nearly_equal_ones_the_more_exact(
    opened: Bundle, clock: _Clock, seconds: dict[tuple[str, str], float], winner: tuple[str, str]
) -> None:
    result = _race(opened, clock, seconds)
    assert pick_fastest(list(seconds), result.rates) == winner
    failed = [pair for pair, value in seconds.items() if value < 0]
    assert result.refused == dict.fromkeys(failed, "CUDA failure 2: out of memory")


def test_a_race_is_run_once_for_a_machine_a_bundle_and_a_number_of_threads(
    opened: Bundle, clock: _Clock, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = {CPU: 1.0, ("cuda", "fp16"): 0.5}, {CPU: 1.0, ("cuda", "fp16"): 0.25}
    first = _race(opened, clock, slow)
    assert _race(opened, clock, fast) == first
    assert _race(opened, clock, fast, threads=1) != first
    other = opened.manifest.model_copy(update={"bundle_id": "0" * 16})
    assert run_race(other, list(fast), lambda pair: _Runner(clock, fast[pair]), threads=None) != first
    monkeypatch.setattr("sentiment_ray.inference.machine_cache.list_gpus", lambda: ("NVIDIA H200",))
    assert _race(opened, clock, fast) != first


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"rows_per_s": {"onnxruntime/fp32": "fast"}}', b"[" * 9999]
)
def test_a_damaged_result_is_measured_again(opened: Bundle, clock: _Clock, cache_home: Path, content: bytes) -> None:
    seconds = {CPU: 1.0, ("cuda", "fp16"): 0.5}
    first = _race(opened, clock, seconds)
    (file,) = (cache_home / "sentiment-ray/races").iterdir()
    file.write_bytes(content)
    assert _race(opened, clock, seconds) == first
    assert json.loads(file.read_text())["rows_per_s"]["cuda/fp16"] == first.rates["cuda", "fp16"]


def test_a_race_with_a_candidate_that_failed_is_run_again(opened: Bundle, clock: _Clock) -> None:
    assert _race(opened, clock, {CPU: 1.0, ("cuda", "fp16"): -1.0}).refused
    assert not _race(opened, clock, {CPU: 1.0, ("cuda", "fp16"): 0.5}).refused


def test_without_a_gpu_that_can_be_used_the_figures_of_the_export_decide(
    opened: Bundle, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable = gpu_engine.EngineSpec(GPU, "no.such.module", "numpy", ("no-such-package",), "", cpu_engine="onnxruntime")
    monkeypatch.setitem(ENGINES, GPU, unusable)
    monkeypatch.setattr(predictor, "run_race", None)
    ranking = choose(opened, "auto", "auto")
    assert ranking.pairs == rank_choices(opened, "auto", "auto")
    assert ranking.race == race.RaceResult()
    assert Predictor.load(opened.path).engine != GPU
    assert not cache_home.exists()


def test_auto_loads_the_gpu_that_won(with_gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def win(manifest: Any, candidates: Any, load: Any, **_: Any) -> race.RaceResult:
        seen.append(candidates)
        load((GPU, "fp16"))  # its self-test runs
        return race.RaceResult({pair: 9.0 if pair == (GPU, "fp16") else 1.0 for pair in candidates})

    monkeypatch.setattr(predictor, "run_race", win)
    loaded = Predictor.load(bundle, threads=2)
    assert (loaded.engine, loaded.variant) == (GPU, "fp16")
    default = loaded.manifest.defaults["cpu"]
    assert seen == [[(default.engine, default.variant), (GPU, "fp32"), (GPU, "fp16")]]
    expected = Predictor.load(bundle, engine="onnxruntime", variant="fp32").predict(["a fine day"])[0]
    assert loaded.predict(["a fine day"])[0].label == expected.label


def test_an_engine_or_a_variant_that_is_named_is_not_raced_against_others(
    with_gpu: None, opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def note(manifest: Any, candidates: Any, load: Any, **_: Any) -> race.RaceResult:
        seen.append(candidates)
        return race.RaceResult()

    monkeypatch.setattr(predictor, "run_race", note)
    assert choose(opened, "openvino", "auto").pairs[0][0] == "openvino"
    assert choose(opened, GPU, "auto").pairs[0] == (GPU, "fp16")
    assert seen == []
    assert choose(opened, "auto", "fp16").pairs[0][1] == "fp16"
    assert seen[0][1:] == [(GPU, "fp16")]


def test_a_real_race_between_two_engines_compares_their_answers_first(
    with_gpu: None, opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "RACE_TEXTS", 32)
    ranking = choose(opened, "auto", "auto", threads=2)
    default = opened.manifest.defaults["cpu"]
    assert set(ranking.race.rates) == {(default.engine, default.variant), (GPU, "fp32"), (GPU, "fp16")}
    assert ranking.race.refused == {}
    monkeypatch.setattr(
        gpu_engine.PretendedGpuEngine, "logits", lambda self, ids, mask: np.zeros((len(ids), 3), dtype=np.float32)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    ranking = choose(opened, "auto", "auto", threads=2)
    assert {pair[0] for pair in ranking.race.refused} == {GPU}
    assert all("on this processor probabilities are up to" in reason for reason in ranking.race.refused.values())
    assert ranking.pairs == rank_choices(opened, "auto", "auto")


def test_a_gpu_that_fails_after_it_won_is_replaced_by_the_cpu(
    with_gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_gpu(*_: Any) -> None:
        raise RuntimeError("no device")

    monkeypatch.setattr(predictor, "run_race", lambda _, pairs, load, **__: race.RaceResult({pairs[-1]: 1.0}))
    monkeypatch.setattr(gpu_engine, "create_engine", lose_gpu)
    default = open_bundle(bundle).manifest.defaults["cpu"]
    assert Predictor.load(bundle).engine == default.engine
    assert "cannot load this model (no device)" in caplog.text
    with pytest.raises(BundleError, match="no device"):
        Predictor.load(bundle, engine=GPU)


@pytest.fixture
def cuda_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """onnxruntime-gpu, as far as the table of engines can see."""
    spec = ENGINES["cuda"]
    monkeypatch.setitem(ENGINES, "cuda", gpu_engine.EngineSpec(**vars(spec) | {"packages": ("onnxruntime",)}))
    yield


@pytest.mark.parametrize(
    ("providers", "gpus", "reason"),
    [
        (["CPUExecutionProvider"], ("NVIDIA H200",), "this build of onnxruntime has no CUDAExecutionProvider"),
        (["CUDAExecutionProvider"], (), "no NVIDIA GPU that this process may use"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ("NVIDIA H200",), None),
    ],
)
def test_a_gpu_is_considered_where_its_provider_and_a_device_are_there(
    cuda_installed: None,
    monkeypatch: pytest.MonkeyPatch,
    providers: list[str],
    gpus: tuple[str, ...],
    reason: str | None,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime_engine, "list_gpus", lambda: gpus)
    found = explain_unusable("cuda")
    assert reason in found if reason and found else found is reason
    assert doctor.examine()["engines_on_gpu"]["cuda"]["usable"] is (reason is None)


def test_a_gpu_engine_that_is_not_installed_names_its_package() -> None:
    engines = doctor.examine()["engines_on_gpu"]
    assert set(engines) == {"cuda", "tensorrt"}
    assert all("it needs onnxruntime-gpu" in engine["note"] for engine in engines.values())


def test_a_gpu_runs_one_file_of_each_precision_that_passed(opened: Bundle) -> None:
    assert list_gpu_choices(opened, "auto", ["cuda"]) == [("cuda", "fp32"), ("cuda", "fp16")]
    assert list_gpu_choices(opened, "optimized", ["cuda"]) == [("cuda", "optimized")]
    assert list_gpu_choices(opened, "auto", []) == []


def test_doctor_shows_the_race_and_its_winner(with_gpu: None, opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = (GPU, "fp16")
    rates = {("openvino", "fp32"): 10.0, winner: 99.0}
    monkeypatch.setattr(
        predictor, "run_race", lambda *_, **__: race.RaceResult(rates, {(GPU, "fp32"): "its memory is full"})
    )
    result = doctor.diagnose(opened)
    assert result["auto"] == {"engine": GPU, "variant": "fp16"}
    assert {"engine": GPU, "variant": "fp16", "rows_per_s_here": 99.0} in result["race"]
    assert {"engine": GPU, "variant": "fp32", "note": "its memory is full"} in result["race"]
    notes = {row["engine"]: row["note"] for row in result["not_tried"] if "variant" not in row}
    assert "it needs onnxruntime-gpu" in notes["cuda"]


def test_bench_measures_the_gpus_that_can_be_used(with_gpu: None, opened: Bundle) -> None:
    keys: dict[str, Any] = {"batches": (2,), "lengths": (8,), "threads": (1,), "seconds": 0.001}
    measured = {(row["engine"], row["variant"]) for row in measure_bundle(opened, **keys)}
    assert {(GPU, "fp32"), (GPU, "fp16")} <= measured
