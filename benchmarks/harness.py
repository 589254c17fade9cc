"""Runs contenders in processes of their own and keeps what each run took; knows no contender's code."""

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
from hashlib import sha256
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
    """A script of contenders/, the environment it runs in, and what is told about it."""

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
    """Where and how every run of a measurement is done; `threads` cores are all that a run may touch."""

    workdir: Path
    bundle: Path
    checkpoint: Path
    threads: int
    timeout_s: float

    @property
    def optimum(self) -> Path:
        """The directory of the checkpoint as Optimum exports it; see preparing.py."""
        return self.workdir / "optimum"

    def output_of(self, contender: Contender, corpus: Path) -> Path:
        """Return the directory of the latest scores of a contender."""
        return self.workdir / "outputs" / contender.name / corpus.name

    def python_of(self, environment: str) -> Path:
        """Return the interpreter of an environment."""
        return self.workdir / "environments" / environment / "bin/python"


def run_once(bench: Bench, contender: Contender, corpus: Path) -> Result:
    """Have a contender score a corpus in a fresh process and return its result line, timed from outside.

    `seconds_total` is the life of the process, `seconds_first_part` the time until a whole Parquet file lay in the
    output. A run that fails or takes longer than the bench allows returns `{"error": why}`.
    """
    output = bench.output_of(contender, corpus)
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [*pinned(bench.threads), bench.python_of(contender.environment)]
    command += [CONTENDERS / contender.script, "--bundle", bench.bundle, "--checkpoint", bench.checkpoint]
    command += ["--optimum", bench.optimum, "--threads", str(bench.threads)]
    command += ["--input", corpus, "--output", output, *contender.flags]
    log = output.parent / f"{corpus.name}.log"
    with tempfile.TemporaryDirectory(prefix="b-", ignore_cleanup_errors=True) as name, log.open("w") as errors:
        scratch = Path(name)
        variables = _environment_variables(bench, contender, scratch)
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
        return {"error": f"exit code {process.returncode}: {_last_line(log)} (all of it: {log})"}
    # Ray's own processes may write on stdout behind the result, when one of them dies late.
    result: Result = next(json.loads(line) for line in reversed(lines) if line.startswith('{"rows"'))
    return result | {"seconds_total": round(seconds, 3), "seconds_first_part": round(first_part, 3)}


def pinned(threads: int) -> list[str]:
    """Return the start of a command that may use so many cores, whatever it starts."""
    return ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))]


def _wait(process: subprocess.Popen[bytes], output: Path, start: float, timeout_s: float) -> float | None:
    """Wait for the end of a process and return when its first part was there, in s; None, and its end, if too late."""
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
    """End a contender and what it started in its session; nothing is done when it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_part(output: Path) -> bool:
    """Whether an output holds a Parquet file that is whole; names that start with _ or . are no data."""
    with contextlib.suppress(FileNotFoundError):  # what is still being written may get another name
        for path in output.rglob("*.parquet"):
            if not any(part[0] in "_." for part in path.relative_to(output).parts):
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - len(PARQUET_END)))
                    if file.read() == PARQUET_END:
                        return True
    return False


def _environment_variables(bench: Bench, contender: Contender, scratch: Path) -> dict[str, str]:
    """Return a small environment: no hub, no telemetry, and every cache in a directory that ends with the run."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "JAVA_HOME") if name in os.environ}
    search_path = f"{bench.python_of(contender.environment).parent}:{os.environ['PATH']}"
    if contender.ours:
        kept["PYTHONPATH"] = str(ROOT)  # this checkout, whichever was installed
    return kept | {
        "PATH": search_path,
        "PYSPARK_PYTHON": str(bench.python_of(contender.environment)),
        "TMPDIR": str(scratch),
        "RAY_TMPDIR": str(scratch),
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DAFT_ANALYTICS_ENABLED": "0",
    }


def started_now() -> dict[str, str]:
    """Return the environment variable from which a process can tell how long ago it was started."""
    return {"STARTED_AT": repr(time.clock_gettime(time.CLOCK_MONOTONIC))}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def bench_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that say where and how is measured, and hand them on as `bench`, `samples` and `rounds`."""

    @functools.wraps(function)
    def command(workdir: Path, bundle: Path, checkpoint: Path, threads: int, timeout_s: float, **rest: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run that is stopped takes its child along
        function(bench=Bench(workdir, bundle, checkpoint, threads, timeout_s), **rest)

    folder = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
    for option in (
        click.option("--timeout-s", default=900.0, show_default=True, help="Seconds after which a run is given up."),
        click.option("--rounds", default=7, show_default=True, help="Times that each contender has its turn."),
        click.option("--threads", default=2, show_default=True, help="Cores that each contender may use."),
        click.option("--samples", default="data/samples", type=folder, show_default=True, help="Of fetch_samples."),
        click.option("--checkpoint", required=True, type=folder, help="The checkpoint that the bundle was made of."),
        click.option("--bundle", required=True, type=folder, help="Bundle that export_bundle wrote."),
        click.option("--workdir", required=True, type=folder, help="Where `prepare` made the environments."),
    ):
        command = option(command)
    return command


class Journal:
    """A file of runs that were done, one JSON line each, so that a measurement goes on where it was stopped.

    There is a file for each set of `settings`, the code that is measured among them: runs of another measurement were
    made at another hour, and the machine may have been faster then.
    """

    def __init__(self, bench: Bench, *settings: object) -> None:
        told = [bench.threads, digest_of(_models(bench)), *settings]
        name = sha256(json.dumps(told).encode()).hexdigest()[:12]
        self.path = path = bench.workdir / "journals" / f"{name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.done: dict[str, Result] = {line["key"]: line["result"] for line in map(json.loads, lines)}

    def once(self, bench: Bench, contender: Contender, corpus: Path, *, number: int) -> Result:
        """Return the result of a run: the one that is written down, or else that of a run now.

        Failures are not written down, so that the next call tries again.
        """
        key = _key(bench, contender, corpus, number)
        if key in self.done:
            return self.done[key]
        click.echo(f"{time.strftime('%H:%M:%S')} {number} {contender.name} {corpus.name} ... ", err=True, nl=False)
        result = run_once(bench, contender, corpus)
        click.echo(result.get("error") or f"{result['seconds_total']} s", err=True)
        if "error" not in result:
            self.done[key] = result
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "contender": contender.name, "result": result}) + "\n")
        return result


def _key(bench: Bench, contender: Contender, corpus: Path, number: int) -> str:
    """Return what makes a run the same: who scored what, with which code and bundle, in which round."""
    names = (contender.script, "contender.py", *contender.imports)
    code = [*_models(bench), *(CONTENDERS / name for name in names)]
    digest = code_digest() if contender.ours else digest_of(code)
    return f"{digest} {contender.name} {' '.join(contender.flags)} {corpus.name}, round {number}"


def _models(bench: Bench) -> list[Path]:
    """Return the files by which the bundle, where there is one, and the checkpoint are known."""
    return [path for path in (bench.bundle / "bundle.json", bench.checkpoint / "config.json") if path.exists()]


def code_digest() -> str:
    """Return a short hash of this project's code."""
    return digest_of([*sorted((ROOT / "sentiment_ray").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))])


def digest_of(paths: Sequence[Path]) -> str:
    """Return a short hash of the bytes of some files."""
    digest = sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def column_of(bench: Bench, contender: Contender, corpus: Path, column: str) -> dict[int, Any]:
    """Return the value of a column for every id in the latest scores of a contender."""
    scores = dataset.dataset(bench.output_of(contender, corpus), partitioning="hive")
    table = scores.to_table(columns=["id", column])
    return dict(zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True))


class RunError(Exception):
    """A run failed or says nothing, so its round has no answer."""


def rows_per_s(short: Result, long: Result) -> float:
    """Return the rate between a short and a long run, from which what every run costs once falls out.

    RunError when either failed, or when the long run took no longer than the short one.
    """
    for result in (short, long):
        if "error" in result:
            raise RunError(result["error"])
    seconds = long["seconds_total"] - short["seconds_total"]
    if seconds <= 0:
        raise RunError(f"{long['rows']} rows took no longer than {short['rows']}; score more, on a machine left alone")
    return float((long["rows"] - short["rows"]) / seconds)


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Return the median and the range that holds the middle 80 % of some values."""
    if not values:
        return {"rounds": 0}
    low, median, high = (float(f"{value:.4g}") for value in np.percentile(values, [10, 50, 90]))
    return {"median": median, "p10": low, "p90": high, "rounds": len(values)}


def machine() -> dict[str, object]:
    """Return what figures depend on: processor, cores that may be used, and the commit that was measured."""
    model = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "commit": commit}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
