"""Runs contenders in processes of their own and measures each run; knows no contender's code."""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from pyarrow import dataset

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ROOT / "benchmarks/contenders"
POLL_S = 0.02
PARQUET_END = b"PAR1"
Result = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A script of contenders/, its environment and its flags; `what` describes it in tables."""

    name: str
    script: str
    environment: str
    what: str
    flags: tuple[str, ...] = ()
    label_column: str = "label"
    ours: bool = False
    imports: tuple[str, ...] = ()
    """Other files of contenders/ that the script imports, beside contender.py."""


@dataclass(frozen=True)
class Bench:
    """The directories and limits of all runs of a measurement; a run may use `threads` cores."""

    workdir: Path
    bundle: Path
    checkpoint: Path
    threads: int
    timeout_s: float

    @property
    def optimum(self) -> Path:
        """The directory of Optimum's export of the checkpoint (preparing.py)."""
        return self.workdir / "optimum"

    def output_path(self, contender: Contender, corpus: Path) -> Path:
        """Return the directory of a contender's latest scores."""
        return self.workdir / "outputs" / contender.name / corpus.name

    def interpreter_path(self, environment: str) -> Path:
        """Return the interpreter of an environment."""
        return self.workdir / "environments" / environment / "bin/python"


def run_once(bench: Bench, contender: Contender, corpus: Path) -> Result:
    """Run a contender on a corpus in a new process and return its result line with the times measured outside.

    `seconds_total` is the lifetime of the process, `seconds_first_part` the time until the output held a complete
    Parquet file. A run that fails or exceeds the time limit returns `{"error": reason}`.
    """
    output = bench.output_path(contender, corpus)
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [*pinned(bench.threads), bench.interpreter_path(contender.environment)]
    command += [CONTENDERS / contender.script, "--bundle", bench.bundle, "--checkpoint", bench.checkpoint]
    command += ["--optimum", bench.optimum, "--threads", str(bench.threads)]
    command += ["--input", corpus, "--output", output, *contender.flags]
    log = output.parent / f"{corpus.name}.log"
    with tempfile.TemporaryDirectory(prefix="b-", ignore_cleanup_errors=True) as name, log.open("w") as errors:
        scratch = Path(name)
        variables = environment_variables(bench, contender, scratch)
        with (scratch / "stdout").open("w+") as stdout:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=scratch,
                env=variables | started_now(),
                stdout=stdout,
                stderr=errors,
                start_new_session=True,
            )
            try:
                first_part = _wait(process, output, start, bench.timeout_s)
                seconds = time.perf_counter() - start
            finally:
                _end(process)
            stdout.seek(0)
            lines = stdout.read().splitlines()
    if first_part is None:
        return {"error": f"took longer than {bench.timeout_s:g} s"}
    if process.returncode != 0:
        return {"error": f"exit code {process.returncode}: {_last_line(log)} (log: {log})"}
    # Ray's processes may write to stdout after the result when one of them ends late.
    result: Result = next(json.loads(line) for line in reversed(lines) if line.startswith('{"rows"'))
    return result | {"seconds_total": round(seconds, 3), "seconds_first_part": round(first_part, 3)}


def pinned(threads: int) -> list[str]:
    """Return the beginning of a command that limits it, and all that it starts, to `threads` cores."""
    return ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))]


def _wait(process: subprocess.Popen[bytes], output: Path, start: float, timeout_s: float) -> float | None:
    """Wait for a process to end and return the seconds until its first part; end it and return None after the limit."""
    first_part = None
    while process.poll() is None:
        time.sleep(POLL_S)
        now = time.perf_counter() - start
        if first_part is None and _has_part(output):
            first_part = now
        if now > timeout_s:
            _end(process)
            return None
    return first_part if first_part is not None else time.perf_counter() - start


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a contender and its session, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_part(output: Path) -> bool:
    """Return whether an output holds a complete Parquet file; names that start with _ or . do not count."""
    with contextlib.suppress(FileNotFoundError):  # a file may be renamed while it is written
        for path in output.rglob("*.parquet"):
            if not any(part[0] in "_." for part in path.relative_to(output).parts):
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - len(PARQUET_END)))
                    if file.read() == PARQUET_END:
                        return True
    return False


def environment_variables(bench: Bench, contender: Contender, scratch: Path) -> dict[str, str]:
    """Return a minimal environment: no hub, no telemetry, all caches in a directory that is removed after the run."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "JAVA_HOME") if name in os.environ}
    search_path = f"{bench.interpreter_path(contender.environment).parent}:{os.environ['PATH']}"
    if contender.ours:
        kept["PYTHONPATH"] = str(ROOT)  # this checkout, not an installed release
    return kept | {
        "PATH": search_path,
        "PYSPARK_PYTHON": str(bench.interpreter_path(contender.environment)),
        "TMPDIR": str(scratch),
        "RAY_TMPDIR": str(scratch),
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DAFT_ANALYTICS_ENABLED": "0",
    }


def started_now() -> dict[str, str]:
    """Return the environment variable that tells a process when it was started."""
    return {"STARTED_AT": repr(time.clock_gettime(time.CLOCK_MONOTONIC))}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def bench_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags of a measurement to a command, which gets them as `bench`, `samples` and `rounds`."""

    @functools.wraps(function)
    def command(workdir: Path, bundle: Path, checkpoint: Path, threads: int, timeout_s: float, **rest: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped measurement also ends its running contender
        function(bench=Bench(workdir, bundle, checkpoint, threads, timeout_s), **rest)

    folder = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
    for option in (
        click.option("--timeout-s", default=900.0, show_default=True, help="Time limit of a run, in seconds."),
        click.option("--rounds", default=7, show_default=True, help="Runs of each contender."),
        click.option("--threads", default=2, show_default=True, help="Cores of each contender."),
        click.option(
            "--samples",
            default="data/samples",
            type=folder,
            show_default=True,
            help="Directory that fetch_samples wrote.",
        ),
        click.option("--checkpoint", required=True, type=folder, help="Checkpoint that the bundle was made from."),
        click.option("--bundle", required=True, type=folder, help="Bundle that export_bundle wrote."),
        click.option("--workdir", required=True, type=folder, help="Directory with the environments of `prepare`."),
    ):
        command = option(command)
    return command


def read_column(bench: Bench, contender: Contender, corpus: Path, column: str) -> dict[int, Any]:
    """Return the value of a column for every id in a contender's latest scores."""
    scores = dataset.dataset(bench.output_path(contender, corpus), partitioning="hive")
    table = scores.to_table(columns=["id", column])
    return dict(zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True))


class RunError(Exception):
    """A run failed or gives no figure, so its round is left out."""


def rows_per_s(short: Result, long: Result) -> float:
    """Return the rows per second between a short and a long run; the fixed cost of a run cancels out.

    RunError when one of them failed, or when the long run was not slower than the short one.
    """
    for result in (short, long):
        if "error" in result:
            raise RunError(result["error"])
    seconds = long["seconds_total"] - short["seconds_total"]
    if seconds <= 0:
        raise RunError(f"{long['rows']} rows took no longer than {short['rows']}. Score more rows, on an idle machine")
    return float((long["rows"] - short["rows"]) / seconds)


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Return the median and the range of the middle 80 % of some values."""
    if not values:
        return {"rounds": 0}
    low, median, high = (float(f"{value:.4g}") for value in np.percentile(values, [10, 50, 90]))
    return {"median": median, "p10": low, "p90": high, "rounds": len(values)}


def machine() -> dict[str, object]:
    """Return what the figures depend on: processor, usable cores, load, and the measured commit."""
    model = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "commit": commit}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
