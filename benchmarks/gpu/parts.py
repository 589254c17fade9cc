"""The table of the measurements, and how one of them runs: in a process of its own, with a time limit of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.results import Results, read_lines, results_path
from benchmarks.gpu.setting import Setting
from benchmarks.harness import ROOT

POLL_S = 0.1
GRACE_S = 5.0
"""Seconds between the request to end and the end by force: Ray's processes end with the job that started them."""


@dataclass(frozen=True)
class Part:
    """One measurement.

    `function` is `module:name`. It takes a Setting and a Results, to which it adds a line for each row of the table.
    `columns` are the headings of the figures that the table shows.
    """

    name: str
    function: str
    title: str
    limit_s: float
    columns: dict[str, str]


TRAINING = {"tokens_per_s": "tokens/s", "of_peak": "of the peak", "ours_faster": "ours faster", "gpu_busy": "GPU busy"}
JOBS = {"seconds": "seconds", "rows": "rows", "rows_per_s": "rows/s", "tokens_per_s": "tokens/s",
        "of_loop": "of the loop", "validation_accuracy": "validation accuracy",
        "test_accuracy": "test accuracy", "note": "note"}  # fmt: skip
DEVICE = {"figure": "figure", "tflop_per_s": "TFLOP/s"}
PARTS = (
    Part("device", "benchmarks.gpu.device:measure_device", "Device", 60, DEVICE),
    Part("training-bert", "benchmarks.gpu.training:measure_bert", "Training, shape of BERT-base", 200, TRAINING),
    Part("training-minilm", "benchmarks.gpu.training:measure_minilm", "Training, shape of MiniLM", 200, TRAINING),
    Part(
        "unpadded",
        "benchmarks.gpu.unpadded:measure_unpadded",
        "Steps of training with padded and with unpadded batches",
        90,
        {"tokens_per_s": "tokens/s", "of_peak": "of the peak", "ours_faster": "unpadded faster", "note": "note"},
    ),
    Part("jobs", "benchmarks.gpu.jobs:run_jobs", "Jobs under Ray, end to end", 300, JOBS),
    Part(
        "answers",
        "benchmarks.gpu.answers:compare_answers",
        "Answers",
        120,
        {"rows": "rows", "same_labels": "labels as on the CPU", "max_probability_difference": "largest difference",
         "same_bits": "same bits alone and in company", "is_invariant": "promised", "note": "note"},
    ),
    Part(
        "scoring",
        "benchmarks.gpu.scoring:measure_scoring",
        "Scoring in memory, film reviews, sentences and tweets in equal parts",
        240,
        {"rows_per_s": "rows/s", "ours_faster": "ours faster", "p50_ms": "p50, ms", "p99_ms": "p99, ms"},
    ),
    Part("imdb", "benchmarks.gpu.jobs:train_on_imdb", "IMDb through the jobs", 900, JOBS),
)  # fmt: skip
"""A new measurement is an entry here and the function that it names."""


def run_part(part: Part, setting: Setting, *, limit_s: float, show: Callable[[str], None]) -> None:
    """Run a part in a new process and pass on each result line as it comes.

    A part that takes longer than `limit_s`, or whose process dies, gets a line that says so; its other lines stay.
    """
    path = results_path(setting.root, part.name)
    log = setting.root / "logs" / f"{part.name}.txt"
    for file in (path, log):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.gpu.run_part", part.name, part.function, str(setting.write())]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment_variables(), stdout=output, stderr=output, start_new_session=True
        )
        try:
            is_late = _follow(process, path, limit_s, show)
        finally:
            _end(process)
    results = Results(setting.root, part.name)
    if is_late:
        results.add("the rest", error=f"took longer than {limit_s:g} s (log: {log})")
    elif process.returncode != 0 and not any("error" in line for line in read_lines(setting.root, part.name)):
        results.add("the rest", error=f"exit code {process.returncode} (log: {log})")
    else:
        return
    show(path.read_text(encoding="utf-8").splitlines()[-1])


def _follow(process: subprocess.Popen[bytes], path: Path, limit_s: float, show: Callable[[str], None]) -> bool:
    """Show the lines of a file until a process ends; return whether the time limit came first."""
    deadline, num_shown = time.monotonic() + limit_s, 0
    while True:
        has_ended = process.poll() is not None  # asked before reading, so that the last lines are shown as well
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        for line in lines[num_shown:]:
            show(line)
        num_shown = len(lines)
        if has_ended:
            return False
        if time.monotonic() > deadline:
            return True
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part and the processes that it started, unless it has ended: first by request, then by force."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, signal_number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _environment_variables() -> dict[str, str]:
    """Return the environment of a part: this checkout's modules first, no hub, no telemetry, one GPU unless told."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        {"CUDA_VISIBLE_DEVICES": "0"}
        | os.environ
        | {
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TOKENIZERS_PARALLELISM": "true",
        }
    )
