"""Compares threads of torch that sleep while they wait with threads that spin: seconds of one training.

    python benchmarks/thread_waiting.py measure --model data/samples/minilm --prepared runs/demo/prepared

Each training is a process of its own, with and without busy processes beside it. The policies take turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from harness import ROOT, machine, spread

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.thread_waiting import SPINS, WAIT_POLICY

POLICIES = {
    "sleep": {WAIT_POLICY: "PASSIVE"},
    "1,000 spins": {SPINS: "1000"},
    "3,000 spins": {SPINS: "3000"},
    "10,000 spins": {SPINS: "10000"},
    "spin": {SPINS: "300000"},
}
"""Variables of a training. The last number of spins is the one that libgomp takes when neither variable is set."""
model_option = click.option("--model", required=True, help="Directory of an encoder.")
prepared_option = click.option("--prepared", required=True, help="What prepare_reviews wrote.")
rows_option = click.option("--rows", default=66, show_default=True, help="Rows to train on.")
tokens_option = click.option("--tokens-per-batch", default="auto", show_default=True)
max_tokens_option = click.option("--max-tokens", default=128, show_default=True)
threads_option = click.option("--threads", default=2, show_default=True)


@click.group()
def commands() -> None:
    """Measure how torch's threads should wait."""


@commands.command()
@model_option
@prepared_option
@rows_option
@tokens_option
@max_tokens_option
@threads_option
@click.option("--busy", default=2, show_default=True, help="Processes that compute beside the training.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--limit-s", default=300.0, show_default=True, help="Time limit of a training.")
def measure(busy: int, rounds: int, limit_s: float, **training: str | int) -> None:
    """Print a line for each policy, alone and beside busy processes."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in training.items()]
    for num_busy in dict.fromkeys((0, busy)):
        seconds: dict[str, list[float]] = {policy: [] for policy in POLICIES}
        for _ in range(rounds):
            for policy, measured in seconds.items():
                with _compute_beside(num_busy):
                    measured.append(_time_training(policy, flags, limit_s))
        for policy, measured in seconds.items():
            line = {"policy": policy, "busy": num_busy, **training, "seconds": spread(measured)}
            print_result(line | {"machine": machine()})


@commands.command(hidden=True)
@model_option
@prepared_option
@rows_option
@tokens_option
@max_tokens_option
@threads_option
def train(model: str, prepared: str, rows: int, tokens_per_batch: str, max_tokens: int, threads: int) -> None:
    """Train once in this process, without Ray, and print the seconds of all steps."""
    import torch
    from pyarrow import parquet

    from sentiment_ray.train.batch_size import choose_batch_size
    from sentiment_ray.train.batches import Chunk
    from sentiment_ray.train.config import TrainConfig
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.prepared import read_prepared
    from sentiment_ray.train.rows import build_chunk
    from sentiment_ray.train.setup import Worker
    from sentiment_ray.train.task import Task

    torch.set_num_threads(threads)
    reviews = read_prepared(Path(prepared))
    keys = {"output": "-", "prepared": prepared, "model": model, "epochs": 1}
    keys |= {"tokens_per_batch": tokens_per_batch, "max_tokens": max_tokens}
    config = choose_batch_size(TrainConfig(**keys), num_rows=rows, mean_tokens=reviews.estimate_mean_tokens())

    def read_chunks(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        table = parquet.read_table(reviews.directory / split, columns=["text", "label"]).slice(0, rows)
        for start in range(0, len(table), num_rows):
            yield build_chunk(table.slice(start, num_rows), reviews.labels)

    worker = Worker(
        rank=0,
        world_size=1,
        device=torch.device("cpu"),
        read_chunks=read_chunks,
        wrap=lambda network: network,
        report=lambda *_: None,
        show=lambda *_: None,
        keeps_checkpoints=False,
    )
    task = Task(reviews.labels, [1.0] * len(reviews.labels), rows, reviews.cleaning_steps)
    history = fine_tune(config, task, worker, None)
    click.echo(json.dumps({"seconds": history[0]["seconds"], "steps": history[0]["steps"]}))


@contextmanager
def _compute_beside(num_processes: int) -> Iterator[None]:
    """Keep processes busy until the block ends."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_processes)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in busy:
            process.kill()


def _time_training(policy: str, flags: list[str], limit_s: float) -> float:
    """Return the seconds of one training, or the limit when it took longer."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | POLICIES[policy]
    command = [sys.executable, __file__, "train", *flags]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return limit_s
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


if __name__ == "__main__":
    run(commands)
