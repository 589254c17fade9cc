"""Measures how often ASHA stops the setting that would have been the best, for several grace periods.

    python benchmarks/grace_period.py measure
    python benchmarks/grace_period.py summarise

`measure` trains settings of a search to the end and keeps macro-F1 after each epoch; when it was stopped, the same
command resumes it. `summarise` lets Ray Tune's ASHAScheduler see these trainings one after another, in many random
orders, and prints the lines of benchmarks/results/searching.jsonl.
"""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from few_rows import Problem, draw_problem
from numpy.random import Generator
from numpy.typing import NDArray

PROBLEMS = (("tweets", 600), ("everyday", 200), ("sentences", 600))
EPOCHS = 4
SETTINGS = 12
GRACE_PERCENTS = (25, 50, 75)
REDUCTION_FACTORS = (2, 4)
ORDERS = 1000
Result = dict[str, Any]


def draw_settings(count: int) -> list[Result]:
    """Draw settings as a search does: most keys of jobs/configs/tune.toml, with a wider range of the learning rate."""
    random = np.random.default_rng(11)
    return [
        {
            "learning_rate": float(np.exp(random.uniform(np.log(1e-5), np.log(5e-4)))),
            "dropout": float(random.choice([0.0, 0.1])),
            "label_smoothing": float(random.choice([0.0, 0.1])),
            "layer_decay": float(random.uniform(0.8, 1.0)),
        }
        for _ in range(count)
    ]


def train(problem: Problem, model: Path, keys: Result) -> list[float]:
    """Train with the project's loop and return macro-F1 on the other rows after each epoch."""
    import torch

    from sentiment_ray.train.batch_size import choose_batch_size
    from sentiment_ray.train.batches import Chunk
    from sentiment_ray.train.config import TrainConfig
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.setup import Worker
    from sentiment_ray.train.task import Task

    config = TrainConfig(prepared="none", output="none", model=str(model), epochs=EPOCHS, **keys)
    mean_tokens = sum(map(len, problem.texts)) / len(problem.texts) / 4
    config = choose_batch_size(config, num_rows=len(problem.texts), mean_tokens=mean_tokens)
    chunks = {
        "train": Chunk(problem.texts, problem.label_ids),
        "validation": Chunk(problem.test_texts, problem.test_ids),
    }
    worker = Worker(
        rank=0,
        world_size=1,
        device=torch.device("cpu"),
        read_chunks=lambda split, rows, order: iter([chunks[split]]),
        wrap=lambda network: network,
        report=lambda *progress: None,
        show=lambda epochs_done, loss: None,
        keeps_checkpoints=False,
    )
    task = Task(problem.labels, [1.0] * len(problem.labels), len(problem.texts))
    return [round(epoch["macro_f1"], 4) for epoch in fine_tune(config, task, worker, None)]


def run_asha(curves: NDArray[np.float64], order: NDArray[np.int64], grace: int, factor: int) -> list[int]:
    """Return the epochs that each of some trainings gets when they run one after another; `curves` are by epoch."""
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    scheduler = ASHAScheduler(
        time_attr="percent", metric="score", mode="max", max_t=100, grace_period=grace, reduction_factor=factor
    )
    epochs = [0] * len(curves)
    for number in order:
        trial = SimpleNamespace(trial_id=str(number))
        scheduler.on_trial_add(None, trial)
        best = np.maximum.accumulate(curves[number])  # a trial reports its best epoch so far
        for epoch, score in enumerate(best, start=1):
            epochs[number] = epoch
            percent = 100 * epoch / len(best)
            if scheduler.on_trial_result(None, trial, {"percent": percent, "score": score}) == TrialScheduler.STOP:
                break
    return epochs


def simulate(curves: NDArray[np.float64], grace: int, factor: int, random: Generator) -> dict[str, float]:
    """Return means over random orders.

    They are: how often the best training was stopped, the macro-F1 that a search loses by it, and the share of the
    epochs that it takes.
    """
    scores = np.maximum.accumulate(curves, axis=1)
    best = scores[:, -1].argmax()
    stopped, lost, share = [], [], []
    for _ in range(ORDERS):
        epochs = np.array(run_asha(curves, random.permutation(len(curves)), grace, factor))
        reached = scores[np.arange(len(curves)), epochs - 1]
        stopped.append(epochs[best] < curves.shape[1])
        lost.append(scores.max() - reached.max())
        share.append(epochs.sum() / curves.size)
    return {"stopped": float(np.mean(stopped)), "lost": float(np.mean(lost)), "share": float(np.mean(share))}


@click.group()
def main() -> None:
    """Judge the grace period of a search."""


@main.command()
@click.option("--samples", default="data/samples", help="Directory of jobs.fetch_samples.")
@click.option("--journal", default="runs/benchmarks/grace_period.jsonl", help="File of finished trainings.")
@click.option("--seeds", default=1)
def measure(samples: str, journal: str, seeds: int) -> None:
    """Train every setting on every problem with one thread, and write a line for each training."""
    import torch

    torch.set_num_threads(1)
    path, model = Path(journal), Path(samples, "minilm").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(line["set"], line["seed"], line["setting"]) for line in lines}
    for seed in range(seeds):
        for name, rows in PROBLEMS:
            problem = draw_problem(name, rows, seed, Path(samples))
            for number, keys in enumerate(draw_settings(SETTINGS)):
                if (name, seed, number) not in done:
                    curve = train(problem, model, keys)
                    line = {"set": name, "rows": rows, "seed": seed, "setting": number, "keys": keys, "macro_f1": curve}
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")


@main.command()
@click.option("--journal", default="runs/benchmarks/grace_period.jsonl")
@click.option("--date", required=True)
@click.option("--commit", required=True)
@click.option("--machine", required=True, help="Its letter in benchmarks/results/machines.jsonl.")
def summarise(journal: str, date: str, commit: str, machine: str) -> None:
    """Print one JSON line for each grace period and reduction factor, with the means over all problems."""
    groups: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for line in map(json.loads, Path(journal).read_text(encoding="utf-8").splitlines()):
        groups[line["set"], line["seed"]].append(line["macro_f1"])
    problems = {key: np.array(curves) for key, curves in groups.items()}
    names = ", ".join(f"{name} with seed {seed} ({len(curves)} settings)" for (name, seed), curves in problems.items())
    for factor in REDUCTION_FACTORS:
        for grace in GRACE_PERCENTS:
            random = np.random.default_rng(0)
            results = [simulate(curves, grace, factor, random) for curves in problems.values()]
            stopped, lost, share = (np.array([each[name] for each in results]) for name in ("stopped", "lost", "share"))
            summary = {
                "kind": "result",
                "date": date,
                "commit": commit,
                "machine": machine,
                "command": "python benchmarks/grace_period.py measure",
                "what": f"ASHA with a grace period of {grace} % of {EPOCHS} epochs, reduction factor {factor}: "
                f"settings of a search one after another, in {ORDERS} orders",
                "figure": f"the best setting stopped in {stopped.mean():.1%}, {lost.mean():.4f} macro-F1 lost, "
                f"{share.mean():.0%} of the epochs trained",
                "spread": f"stopped in {stopped.min():.1%} to {stopped.max():.1%} of the orders; {len(results)} "
                f"problems: {names}",
                "question": "searching",
            }
            click.echo(json.dumps(summary, ensure_ascii=False))


if __name__ == "__main__":
    main()
