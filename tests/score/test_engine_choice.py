"""The engine of a run is chosen once: by its plan, by the export's figures, or by a race on a node with a GPU."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.choice import rank_choices
from sentiment_ray.inference.race import RaceResult
from sentiment_ray.score import engine_choice
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.engine_choice import choose_engine
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.output_names import name_receipt
from sentiment_ray.score.plan import NewPlan, Plan
from sentiment_ray.score.plan_file import write_plan
from sentiment_ray.score.receipts import Receipt, parse_receipt, write_receipt
from sentiment_ray.storage import Store, open_store
from tests.inference import gpu_engine

GPU = gpu_engine.NAME


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return open_bundle(bundle)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "scores"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Pretends a cluster with GPUs: gives the numbers of workers, the rates of the race, and returns its candidates."""

    def pretend(gpus: int, rates: dict[tuple[str, str], float], workers: dict[str, int]) -> list[Any]:
        raced: list[Any] = []

        def race(manifest: Any, candidates: Any, load: Any, **_: Any) -> RaceResult:
            raced.append(candidates)
            return RaceResult({pair: rates[pair] for pair in candidates if pair in rates})

        def count(config: ScoreConfig, engine: str) -> int:
            if engine not in workers:
                raise ConfigError("they do not fit")
            return workers[engine]

        inline = SimpleNamespace(
            remote=lambda **_: lambda function: SimpleNamespace(remote=function),
            get=lambda value, timeout: value,
            exceptions=ray.exceptions,
            cluster_resources=lambda: {"CPU": 4.0, "GPU": float(gpus)},
        )
        monkeypatch.setitem(ENGINES, GPU, gpu_engine.SPEC)
        monkeypatch.setattr(engine_choice, "ray", inline)
        monkeypatch.setattr(engine_choice, "connect", lambda: None)
        monkeypatch.setattr(engine_choice, "run_race", race)
        monkeypatch.setattr(engine_choice, "choose_num_workers", count)
        return raced

    return pretend


def _config(**keys: Any) -> ScoreConfig:
    return ScoreConfig(**{"bundle": "bundle", "input": "rows", "output": "scores"} | keys)


def _write_plan(store: Store, bundle: Bundle, choice: tuple[str, str], changes: Mapping[str, Any]) -> None:
    chosen = {"bundle_id": bundle.manifest.bundle_id, "engine": choice[0], "variant": choice[1]} | dict(changes)
    write_plan(store, NewPlan(Plan("f", Identity(chosen, {}, make_file_table([]))), ()))


def test_without_a_gpu_engine_no_cluster_is_asked(
    opened: Bundle, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "connect", None)
    assert choose_engine(_config(), store, opened) == rank_choices(opened, "auto", "auto")[0]


@pytest.mark.parametrize(
    ("rates", "workers", "winner"),
    [
        ({"cpu": 100.0, "fp32": 900.0, "fp16": 1900.0}, {"cpu": 4, GPU: 1}, "fp16"),
        ({"cpu": 100.0, "fp32": 900.0, "fp16": 920.0}, {"cpu": 4, GPU: 1}, "fp32"),
        ({"cpu": 600.0, "fp32": 900.0, "fp16": 1900.0}, {"cpu": 4, GPU: 1}, "cpu"),
        ({"cpu": 600.0, "fp32": 900.0, "fp16": 1900.0}, {"cpu": 4, GPU: 2}, "fp16"),
        ({"cpu": 600.0, "fp32": 900.0, "fp16": 1900.0}, {"cpu": 4}, "cpu"),
        ({"cpu": 600.0}, {"cpu": 4, GPU: 1}, "cpu"),
    ],
)
def test_all_workers_that_fit_are_compared_not_one_of_each_kind(
    opened: Bundle,
    store: Store,
    cluster: Callable[..., list[Any]],
    rates: dict[str, float],
    workers: dict[str, int],
    winner: str,
) -> None:
    default = rank_choices(opened, "auto", "auto")[0]
    pairs = {"cpu": default, "fp32": (GPU, "fp32"), "fp16": (GPU, "fp16")}
    counts = {default[0] if name == "cpu" else name: count for name, count in workers.items()}
    raced = cluster(1, {pairs[name]: rate for name, rate in rates.items()}, counts)
    assert choose_engine(_config(), store, opened) == pairs[winner]
    assert len(raced) == (GPU in workers)


def test_a_cluster_without_gpus_runs_no_race(opened: Bundle, store: Store, cluster: Callable[..., list[Any]]) -> None:
    raced = cluster(0, {}, {})
    assert choose_engine(_config(), store, opened) == rank_choices(opened, "auto", "auto")[0]
    assert raced == []


@pytest.mark.parametrize("failure", ["WorkerCrashedError", "GetTimeoutError"])
def test_a_race_without_a_result_leaves_the_work_to_the_cpu(
    opened: Bundle,
    store: Store,
    cluster: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: str,
) -> None:
    default = rank_choices(opened, "auto", "auto")[0]
    cluster(1, {}, {default[0]: 4, GPU: 1})
    cancelled: list[Any] = []

    def fail(*_: Any, **__: Any) -> None:
        raise getattr(ray.exceptions, failure)

    monkeypatch.setattr(engine_choice.ray, "get", fail)
    monkeypatch.setattr(engine_choice.ray, "cancel", lambda reply, force: cancelled.append(reply), raising=False)
    assert choose_engine(_config(), store, opened) == default
    assert len(cancelled) == 1
    assert "gave no result, so the CPU scores" in caplog.text


def test_a_run_that_is_resumed_keeps_the_choice_of_its_plan(
    opened: Bundle, store: Store, cluster: Callable[..., list[Any]]
) -> None:
    raced = cluster(1, {}, {})
    for planned in ((GPU, "fp16"), ("onnxruntime", "optimized")):
        _write_plan(store, opened, planned, {})
        for keys in ({}, {"restart": True}, {"engine": planned[0]}, {"variant": planned[1]}):
            assert choose_engine(_config(**keys), store, opened) == planned
    assert raced == []
    assert choose_engine(_config(engine="openvino"), store, opened)[0] == "openvino"
    named = _config(engine="onnxruntime", variant="fp32")
    assert choose_engine(named, store, opened) == ("onnxruntime", "fp32")


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle_id": "0" * 16},
        {"engine": "unlisted"},
        {"engine": None},
        {"variant": "unlisted"},
        {"engine": "cuda"},
    ],
)
def test_a_plan_of_another_bundle_or_of_an_engine_that_is_not_here_decides_nothing(
    opened: Bundle, store: Store, changes: dict[str, Any]
) -> None:
    _write_plan(store, opened, ("onnxruntime", "optimized"), changes)
    assert choose_engine(_config(), store, opened) == rank_choices(opened, "auto", "auto")[0]


def test_tokens_per_batch_suit_the_engine_unless_they_are_given() -> None:
    assert [_config().with_engine(name).token_budget for name in ("openvino", "onnxruntime", "cuda")] == [
        2048,
        2048,
        32_768,
    ]
    assert _config(tokens_per_batch=64).with_engine("cuda").token_budget == 64


def test_a_name_receipts_the_gpu_and_one_of_the_cpu_is_as_before(store: Store) -> None:
    values: dict[str, Any] = {
        "fingerprint": "f", "part": "a.parquet", "input": "a", "first_row": 0, "rows_in": 1, "rows": 1,
        "rows_quarantined": 0, "reasons": {}, "duplicates": 0, "profile": {}, "files": {}, "crashes": 0,
        "worker": "w", "started_at": 0.0, "seconds": 1.0,
    }  # fmt: skip
    write_receipt(store, Receipt(**values))
    assert b"gpu" not in store.read(name_receipt("a.parquet"))
    write_receipt(store, Receipt(**values, gpu="NVIDIA H200"))
    assert b'"gpu": "NVIDIA H200"' in store.read(name_receipt("a.parquet"))
    assert (parse_receipt(values, 0).gpu, parse_receipt(values | {"gpu": "NVIDIA H200"}, 0).gpu) == (
        None,
        "NVIDIA H200",
    )
