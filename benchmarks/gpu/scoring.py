"""Measures scoring in memory: the Predictor beside a bare torch loop and the pipeline of transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.gpu import torch_loop
from benchmarks.gpu.inputs import find_bundle, load_mix
from benchmarks.gpu.results import Results
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.turns import Contender, Work, measure_in_turns, time_call
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import ConfigError

NUM_TEXTS = 24_000
FIRST_TEXTS = 500
LARGE_BATCH = 32_768
TORCH_BATCHES = (32_768, 131_072)
SHORT_TEXT = "I had hoped for more, to be honest."
NUM_SINGLE_TEXTS = 200


def measure_scoring(setting: Setting, results: Results) -> None:
    """Add the latency of one short text, then the rows a second of each contender."""
    bundle, checkpoint = find_bundle(setting)
    manifest = open_bundle(bundle).manifest
    if manifest.truncation.mode != "head":
        raise ConfigError(f"{bundle}: the peers read the head of a text. Give a --bundle that does so too.")
    texts = load_mix(setting, setting.choose(NUM_TEXTS, 60))
    predictors = load_predictors(setting, bundle, results)
    for variant, predictor in predictors.items():
        _measure_latency(setting, results, variant, predictor)
    contenders: dict[str, Contender] = {}
    for variant, predictor in predictors.items():
        contenders[f"Predictor, {variant}, default batches"] = _time(predictor.score, texts)
        contenders[f"Predictor, {variant}, {LARGE_BATCH:,} tokens a batch"] = _time(
            lambda some, each=predictor: each.score(some, tokens_per_batch=LARGE_BATCH), texts
        )
    ours = next((name for name in contenders if name.endswith("a batch")), "none")
    contenders |= _build_peers(setting, checkpoint, texts, manifest.max_tokens, results)
    limits = {"first_rows": setting.choose(FIRST_TEXTS, 20), "max_rows": len(texts)}
    measure_in_turns(setting, results, contenders, "rows_per_s", ours=ours, **limits)


def load_predictors(setting: Setting, bundle: Path, results: Results) -> dict[str, Predictor]:
    """Return a Predictor on the device for fp16 and for fp32, in this order; a failure becomes a result line."""
    predictors = {}
    for variant in ("fp16", "fp32"):
        with results.catching(f"Predictor, {variant}"):
            predictors[variant] = Predictor.load(bundle, engine=setting.engine, variant=variant)
    return predictors


def _build_peers(
    setting: Setting, checkpoint: Path, texts: list[str], max_tokens: int, results: Results
) -> dict[str, Contender]:
    """Return the torch loop and the pipelines; one that cannot be loaded becomes a result line."""
    peers: dict[str, Contender] = {}
    precision = "fp16" if setting.device == "cuda" else "fp32"
    for budget in TORCH_BATCHES:
        with results.catching(name := f"torch loop, {precision}, {budget:,} tokens a batch"):
            score = torch_loop.load_loop(checkpoint, setting.device, max_tokens=max_tokens, tokens_per_batch=budget)
            peers[name] = _time(score, texts)
    for name, options in torch_loop.PIPELINES.items():
        with results.catching(name):
            peers[name] = _time(
                torch_loop.load_pipeline(checkpoint, setting.device, max_tokens=max_tokens, **options), texts
            )
    return peers


def _time(score: Callable[[list[str]], object], texts: list[str]) -> Contender:
    """Return a contender that scores the first texts."""

    def run(num_rows: int) -> Work:
        return Work(num_rows, time_call(lambda: score(texts[:num_rows])))

    return run


def _measure_latency(setting: Setting, results: Results, variant: str, predictor: Predictor) -> None:
    """Add the time of one short text: median and 99th percentile."""
    predictor.score([SHORT_TEXT])
    times = [time_call(lambda: predictor.score([SHORT_TEXT])) for _ in range(setting.choose(NUM_SINGLE_TEXTS, 5))]
    p50, p99 = (round(1000 * float(np.percentile(times, percentile)), 3) for percentile in (50, 99))
    results.add(f"Predictor, {variant}, one short text", p50_ms=p50, p99_ms=p99)
