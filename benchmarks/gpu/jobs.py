"""Runs the project's jobs under Ray, each as a command of its own: prepare, train, export, score, evaluate."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.inputs import LABELS, MAX_TOKENS, get_encoder, write_film_reviews
from benchmarks.gpu.results import Results, read_lines
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import name_ours
from benchmarks.harness import ROOT
from sentiment_ray.manifest import read_json

NUM_REVIEWS = 20_000
TOKENS_PER_STEP = 32_768
VARIANTS = "fp32,fp16"
Flags = Mapping[str, object]
TOLERANT = {"min_agreement": 0, "max_mean_difference": 1, "max_batch_flips": 100, "max_batch_difference": 1}
"""Limits of the gate for the tiny models of a rehearsal, whose answers lie close together."""


def run_jobs(setting: Setting, results: Results) -> None:
    """Fine-tune, export and score, each with its seconds; the bundle is what the other parts score with."""
    root = _make_directory(setting, "jobs")
    reviews = root / "reviews.parquet"
    num_rows = write_film_reviews(setting, reviews, setting.choose(NUM_REVIEWS, 120))
    keys = {"input": reviews, "output": root / "prepared", "labels": ",".join(LABELS), "keep_duplicates": True}
    _run(results, "prepare_reviews", {**keys, "near_duplicates": False}, rows=num_rows)
    keys = {"prepared": root / "prepared", "model": get_encoder(setting), "output": root / "run", "epochs": 1}
    batch = setting.choose(TOKENS_PER_STEP, 512)
    keys |= {"tokens_per_batch": batch, "max_tokens": MAX_TOKENS}
    _train(setting, results, keys, loop_rate=_read_loop_rate(setting, batch))
    _export(setting, results, root)
    keys = {"bundle": root / "bundle", "input": reviews, "output": root / "scores", "engine": setting.engine}
    _run(results, "score_reviews", {**keys, "tokens_per_batch": TOKENS_PER_STEP}, rows=num_rows)


def train_on_imdb(setting: Setting, results: Results) -> None:
    """Fine-tune an encoder on IMDb, export it, and add its accuracy on the test reviews and all times."""
    if setting.imdb and setting.imdb_model:
        prepared, model = Path(setting.imdb), Path(setting.imdb_model)
    elif setting.quick:
        prepared, model = setting.root / "jobs/prepared", get_encoder(setting)
    else:
        results.add("left out", note="it needs --imdb and --imdb-model")
        return
    root = _make_directory(setting, "imdb")
    keys = {"prepared": prepared, "model": model, "output": root / "run", "best_by": "accuracy"}
    keys |= {"epochs": setting.choose(setting.imdb_epochs, 1), "learning_rate": 3e-5, "layer_decay": 0.95}
    keys |= {"tokens_per_batch": setting.choose(16_384, 512), "max_tokens": setting.choose(512, MAX_TOKENS)}
    _train(setting, results, {**keys, "truncation": "head_tail"})
    _export(setting, results, root)
    keys = {"bundle": root / "bundle", "input": prepared / "test", "output": root / "evaluation"}
    _run(results, "evaluate_bundle", {**keys, "engine": setting.engine})


def _train(setting: Setting, results: Results, keys: Flags, *, loop_rate: float | None = None) -> None:
    """Run train_encoder and add its seconds and its tokens a second, also as a share of `loop_rate`."""
    with results.catching("train_encoder"):
        seconds, _ = run_job(results, "train_encoder", {**keys, "use_gpu": setting.device == "cuda"})
        told = read_json(Path(str(keys["output"])) / "run.json")
        history, best = told["history"], told["best"]
        rate = sum(epoch["tokens"] for epoch in history) / sum(
            epoch["tokens"] / epoch["tokens_per_s"] for epoch in history
        )
        what = f"{Path(str(keys['model'])).name}, {keys['tokens_per_batch']:,} tokens a step, epochs: {len(history)}"
        figures = {"rows": sum(epoch["train_rows"] for epoch in history), "tokens_per_s": rate, "note": what}
        if loop_rate:
            figures["of_loop"] = rate / loop_rate
        results.add("train_encoder", seconds=seconds, **figures, validation_accuracy=best["metrics"]["accuracy"])


def _read_loop_rate(setting: Setting, tokens_per_step: int) -> float | None:
    """Return the tokens a second of the loop without Ray on MiniLM's shape, if it was measured and is comparable."""
    lines = read_lines(setting.root, "training-minilm")
    rates = [line.get("tokens_per_s") for line in lines if line["what"] == name_ours(tokens_per_step)]
    return rates[0]["median"] if rates and rates[0] and not setting.model else None


def _export(setting: Setting, results: Results, root: Path) -> None:
    """Run export_bundle; few rows pass the gate, whose reference is torch on the CPU."""
    keys = {"run": root / "run", "output": root / "bundle", "variants": VARIANTS}
    few = {"gate_rows": setting.choose(300, 16), "calibration_rows": setting.choose(300, 16), "batch_rows": 16}
    _run(results, "export_bundle", {**keys, **few, **setting.choose({}, TOLERANT)})


def _run(results: Results, job: str, keys: Flags, *, rows: int | None = None) -> None:
    """Run a job and add its seconds, and its rows a second where `rows` says how many rows it reads."""
    with results.catching(job):
        seconds, told = run_job(results, job, keys)
        figures: dict[str, Any] = {"rows": rows, "rows_per_s": rows / seconds} if rows else {}
        if "metrics" in told:
            figures |= {"rows": told["metrics"]["rows"], "test_accuracy": told["metrics"]["accuracy"]}
        results.add(job, seconds=seconds, **figures, result=told)


def run_job(results: Results, job: str, keys: Flags) -> tuple[float, dict[str, Any]]:
    """Run a job with keys of its section as flags; return its seconds and its result.

    What it writes to stderr goes to a log of its own. RuntimeError with the last line of it when the job failed.
    """
    log = results.root / "logs" / f"{results.part}-{job}.txt"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", f"jobs.{job}", *build_flags(keys)]
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        reason = (log.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {reason} (log: {log})")
    return round(seconds, 2), json.loads(done.stdout.splitlines()[-1])


def build_flags(keys: Flags) -> list[str]:
    """Return keys as flags of a command: a true value as --key, a false one as --no-key."""
    flags = []
    for key, value in keys.items():
        name = key.replace("_", "-")
        flags += [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    return flags


def _make_directory(setting: Setting, name: str) -> Path:
    """Return an empty directory: what an earlier run left there would be found, and nothing would be computed."""
    path = setting.root / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path
