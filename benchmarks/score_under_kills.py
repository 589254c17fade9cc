"""Kills scoring jobs, starts them again, and counts the rows that are lost or doubled; prints a JSON line a contender.

Run `prepare` first, then `measure`. A kill is SIGKILL, at a seeded moment between the first and the last part: of the
whole job, as when a machine is lost, or of the worker that has used most of the processor. After a kill the same
command runs again until it ends by itself. The others label texts with a stand-in for a model. README.md in this
directory has the commands.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil
import pyarrow as pa
from harness import CONTENDERS, Bench, Contender, environment_variables, pinned
from preparing import prepare_command
from pyarrow import parquet

from sentiment_ray.config.shell import print_result, run

OURS = Contender("ours", "sentiment_ray_job.py", "sentiment-ray", "jobs.score_reviews", ours=True)
RESUMABLE = ("--resumable",)
KILLED = (
    OURS,
    Contender("ray-data", "kills_ray_data.py", "ray-kills", "Ray Data"),
    Contender("ray-data-checkpoint", "kills_ray_data.py", "ray-kills", "Ray Data, checkpoints of rows", RESUMABLE),
    Contender("daft", "kills_daft.py", "daft-kills", "Daft"),
    Contender("daft-checkpoint", "kills_daft.py", "daft-kills", "Daft, checkpoints of rows, Delta table", RESUMABLE),
    Contender("nemo-curator", "kills_curator.py", "nemo-curator", "NeMo Curator, checkpoints of files"),
)
MAX_STARTS = 4
"""Starts of one command, the first included, before the trial is given up."""
VICTIMS = ("job", "worker")
POLL_S = 0.05


@dataclass(frozen=True)
class Trial:
    """One job that is killed once: whose, what is killed, and the seed of the moment."""

    contender: Contender
    victim: str
    seed: int


@click.group()
def main() -> None:
    """Kill scoring jobs of this project and of other libraries, and count what they lose."""


main.add_command(prepare_command(KILLED))


@main.command()
@click.option("--workdir", required=True, type=click.Path(path_type=Path, resolve_path=True), help="As for `prepare`.")
@click.option("--bundle", required=True, type=click.Path(path_type=Path, resolve_path=True), help="Bundle of `ours`.")
@click.option("--texts", required=True, help="Parquet file whose column text is repeated to make the corpus.")
@click.option("--rows", default=4_000, show_default=True, help="Rows of the corpus.")
@click.option("--files", default=16, show_default=True, help="Files of the corpus.")
@click.option("--seeds", default=3, show_default=True, help="Trials of each contender and each kind of kill.")
@click.option("--timeout-s", default=180.0, show_default=True, help="Time limit of one start, in seconds.")
@click.option("--only", multiple=True, type=click.Choice([each.name for each in KILLED]), help="Contenders. [all]")
def measure(
    workdir: Path, bundle: Path, texts: str, rows: int, files: int, seeds: int, timeout_s: float, only: tuple[str, ...]
) -> None:
    """Kill each contender in each way at several moments, and print what its output holds at last."""
    corpus = _write_corpus(workdir / f"kills-{rows}-rows-{files}-files", Path(texts), rows, files)
    bench = Bench(workdir, bundle, bundle, threads=2, timeout_s=timeout_s)
    for contender in (each for each in KILLED if not only or each.name in only):
        first_s, last_s = _time_parts(bench, contender, corpus)
        for victim in VICTIMS:
            trials = [Trial(contender, victim, seed) for seed in range(seeds)]
            results = [run_trial(bench, trial, corpus, first_s, last_s) for trial in trials]
            total = Counter[str]()
            for result in results:
                total.update({key: int(result[key]) for key in ("rows_lost", "rows_doubled", "files_torn", "failed")})
            print_result({
                "contender": contender.name, "what": contender.what, "victim": victim, "trials": seeds, "rows": rows,
                "first_part_s": round(first_s, 1), "last_part_s": round(last_s, 1), **total, "each": results,
            })  # fmt: skip


def run_trial(bench: Bench, trial: Trial, corpus: Path, first_s: float, last_s: float) -> dict[str, Any]:
    """Kill a job once, start it again until it ends, and count the rows of its output."""
    output = _clear_output(bench, trial.contender, corpus)
    kill_at_s = random.Random(f"{trial.victim} {trial.seed}").uniform(first_s, last_s)
    result: dict[str, Any] = {"seed": trial.seed, "kill_at_s": round(kill_at_s, 1), "failed": False}
    with _start(bench, trial.contender, corpus) as process:
        started = time.monotonic()
        while process.poll() is None and time.monotonic() < started + kill_at_s:
            time.sleep(POLL_S)
        result["killed"] = process.poll() is None
        if result["killed"] and trial.victim == "worker":
            result["killed"] = _kill_busiest_worker(process)
            _wait(process, bench.timeout_s)
    result["starts"], code = 1, process.returncode if trial.victim == "worker" else None
    while code != 0 and result["starts"] < MAX_STARTS:
        result["starts"] += 1
        with _start(bench, trial.contender, corpus) as process:
            code = _wait(process, bench.timeout_s)
    result["failed"] = code != 0
    return result | count_rows(output, corpus)


def count_rows(output: Path, corpus: Path) -> dict[str, int]:
    """Return how many ids of the corpus an output lacks, how many rows are there too often, and the torn files."""
    expected = set(parquet.read_table(corpus, columns=["id"])["id"].to_pylist())
    ids = Counter[int]()
    torn = 0
    for path in _list_parts(output):
        try:
            ids.update(parquet.read_table(path, columns=["id"], partitioning=None)["id"].to_pylist())
        except (pa.ArrowException, OSError):
            torn += 1
    return {"rows_lost": len(expected - ids.keys()), "rows_doubled": ids.total() - len(ids), "files_torn": torn}


def _list_parts(output: Path) -> list[Path]:
    """Return the Parquet files that a reader of the output reads: of a Delta table those in its log."""
    if (output / "_delta_log").is_dir():
        from deltalake import DeltaTable

        return [output / path.rpartition("/")[2] for path in DeltaTable(str(output)).file_uris()]
    return [
        path
        for path in output.rglob("*.parquet")
        if not any(part[0] in "_." for part in path.relative_to(output).parts)
    ]


def _write_corpus(directory: Path, texts: Path, rows: int, files: int) -> Path:
    """Write a corpus of small files with a column of unique ids."""
    if directory.exists():
        return directory
    source = parquet.read_table(texts, columns=["text"])
    table = source.take([row % len(source) for row in range(rows)])
    table = table.append_column("id", pa.array(range(rows)))
    unfinished = directory.with_name(f".{directory.name}")
    unfinished.mkdir(parents=True, exist_ok=True)
    size = -(-rows // files)
    for number in range(files):
        parquet.write_table(table.slice(number * size, size), unfinished / f"reviews-{number:02d}.parquet")
    return unfinished.rename(directory)


def _time_parts(bench: Bench, contender: Contender, corpus: Path) -> tuple[float, float]:
    """Return after how many seconds an undisturbed run has written its first part and its last one."""
    output = _clear_output(bench, contender, corpus)
    started, first_s, last_s, num_parts = time.monotonic(), 0.0, 0.0, 0
    with _start(bench, contender, corpus) as process:
        while process.poll() is None and time.monotonic() < started + bench.timeout_s:
            time.sleep(POLL_S)
            found = len(list(output.rglob("*.parquet"))) if output.exists() else 0
            if found > num_parts:
                last_s, num_parts = time.monotonic() - started, found
                first_s = first_s or last_s
    if process.returncode != 0:
        raise click.ClickException(f"{contender.name} failed undisturbed; its log is {_log_path(bench, contender)}")
    counts = count_rows(output, corpus)
    if any(counts.values()):
        raise click.ClickException(f"{contender.name} undisturbed: {counts}")
    return first_s, last_s


def _clear_output(bench: Bench, contender: Contender, corpus: Path) -> Path:
    output = bench.output_path(contender, corpus)
    for path in (output, output.with_name(f"{output.name}.checkpoint")):
        shutil.rmtree(path, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


@contextmanager
def _start(bench: Bench, contender: Contender, corpus: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a job; at the end of the block nothing of it is left, as after the loss of its machine."""
    command: list[str | Path] = [*pinned(bench.threads), bench.interpreter_path(contender.environment)]
    command += [CONTENDERS / contender.script, "--bundle", bench.bundle, "--threads", str(bench.threads)]
    command += ["--input", corpus, "--output", bench.output_path(contender, corpus), *contender.flags]
    with tempfile.TemporaryDirectory(prefix="k-", ignore_cleanup_errors=True) as scratch:
        variables = environment_variables(bench, contender, Path(scratch))
        with _log_path(bench, contender).open("a") as log:
            process = subprocess.Popen(
                command, cwd=scratch, env=variables, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                _kill_all(process, scratch)


def _log_path(bench: Bench, contender: Contender) -> Path:
    return bench.workdir / "outputs" / contender.name / "kills.log"


def _kill_all(process: subprocess.Popen[bytes], scratch: str) -> None:
    """Kill a job, its children, and what else it has started: processes with its directory for temporary files."""
    found = [each for each in psutil.process_iter() if _belongs_to(each, process.pid, scratch)]
    for each in found:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(found, timeout=10)


def _belongs_to(process: psutil.Process, session: int, scratch: str) -> bool:
    try:
        return os.getsid(process.pid) == session or process.environ().get("TMPDIR") == scratch
    except (psutil.Error, OSError):
        return False


def _kill_busiest_worker(process: subprocess.Popen[bytes]) -> bool:
    """Kill the worker process of Ray, or else the child, that has used most of the processor; whether there was one."""
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if _is_worker(child)] or children
    if not workers:
        os.kill(process.pid, signal.SIGKILL)  # all of it is one process
        return True
    times = {worker: sum(worker.cpu_times()[:2]) for worker in workers if worker.is_running()}
    max(times, key=lambda worker: times[worker]).kill()
    return True


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "ray::" in " ".join(process.cmdline()) and "MapWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Return the exit code of a job, or None when it has not ended in time."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped measurement also ends its running job
    run(main)
