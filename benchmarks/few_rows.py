"""Compares ways to learn from 20 to 200 rows: accuracy on other rows, and the processor time of the training.

    python benchmarks/few_rows.py measure --setfit runs/benchmarks/environments/setfit/bin/python
    python benchmarks/few_rows.py summarise

Every way gets the same encoder and rows, and one thread. SetFit gets the seconds that this project's training took
with the same rows. Times are seconds of the processor, so other work on the machine changes them little. A stopped
measurement resumes when the command is run again. `summarise` prints the lines of benchmarks/results/small.jsonl.
"""

import json
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from harness import CONTENDERS, ROOT
from numpy.typing import NDArray
from pyarrow import parquet

SETS = ("everyday", "sentences", "tweets")
SIZES = (66, 20, 200)
TEST_ROWS = 300
MOST_ROWS = max(SIZES)
"""Rows that are kept out of the test rows of every size."""
MESSAGES = (
    ("Remember that each day is a new opportunity to embrace the beauty of life.", "positive"),
    ("I have to be honest, I'm just not enjoying this movie.", "negative"),
    ("This is a cherry pie.", "neutral"),
)
"""The three messages of the README with their labels."""
Result = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and rows to measure on; `label_ids` are int64."""

    name: str
    seed: int
    labels: tuple[str, ...]
    texts: list[str]
    label_ids: NDArray[np.int64]
    test_texts: list[str]
    test_ids: NDArray[np.int64]


def draw_problem(name: str, rows: int, seed: int, samples: Path) -> Problem:
    """Draw rows with the set's own shares of labels, at least two of each, and other rows to measure on."""
    by_text = dict(_read_everyday() if name == "everyday" else _read_sample(samples / f"{name}.parquet"))
    texts, labels = list(by_text), tuple(sorted(set(by_text.values())))
    ids = np.array([labels.index(label) for label in by_text.values()])
    random = np.random.default_rng([seed, 7])
    order = random.permutation(len(texts))
    num_test = min(TEST_ROWS, len(texts) - MOST_ROWS)
    test, pool = order[:num_test], order[num_test:]
    shares = np.bincount(ids[pool]) / len(pool)
    quotas = np.maximum(2, np.floor(shares * rows)).astype(int)
    while quotas.sum() != rows:
        change = 1 if quotas.sum() < rows else -1
        quotas[np.argmax((shares * rows - quotas) * change)] += change
    chosen = np.concatenate([pool[ids[pool] == label][:quota] for label, quota in enumerate(quotas)])
    chosen = random.permutation(chosen)
    return Problem(
        name, seed, labels, [texts[i] for i in chosen], ids[chosen], [texts[i] for i in test], ids[test]
    )  # fmt: skip


def _read_everyday() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "jobs/configs/everyday.jsonl").read_text(encoding="utf-8").splitlines():
        _, user, assistant = json.loads(line)["messages"]
        yield user["content"], assistant["content"].lower()


def _read_sample(path: Path) -> Iterator[tuple[str, str]]:
    table = parquet.read_table(path, columns=["text", "label"])
    yield from zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)


def learn_with_loop(problem: Problem, model: Path, **keys: Any) -> tuple[float, NDArray[np.int64]]:
    """Train with the project's loop and the default keys; return the seconds and the predicted ids."""
    import tempfile

    import torch

    from export.held_out import TorchEngine
    from sentiment_ray.inference.scoring import score_texts
    from sentiment_ray.text.encoding import load_encoder
    from sentiment_ray.train.batch_size import choose_batch_size
    from sentiment_ray.train.batches import Chunk
    from sentiment_ray.train.config import TrainConfig
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.setup import Worker
    from sentiment_ray.train.task import Task

    config = TrainConfig(prepared="none", output="none", model=str(model), seed=problem.seed, **keys)
    mean_tokens = sum(map(len, problem.texts)) / len(problem.texts) / 4
    config = choose_batch_size(config, num_rows=len(problem.texts), mean_tokens=mean_tokens)
    with tempfile.TemporaryDirectory() as directory:
        last = Path(directory, "last")

        def report(checkpoint: Path | None, *progress: Any) -> None:
            if checkpoint:
                subprocess.run(["rm", "-rf", str(last)], check=True)
                subprocess.run(["cp", "-r", str(checkpoint), str(last)], check=True)

        worker = Worker(
            rank=0,
            world_size=1,
            device=torch.device("cpu"),
            read_chunks=lambda split, rows, order: iter([Chunk(problem.texts, problem.label_ids)]),
            wrap=lambda network: network,
            report=report,
            show=lambda epochs_done, loss: None,
        )
        started = time.process_time()
        fine_tune(config, Task(problem.labels, [1.0] * len(problem.labels), len(problem.texts)), worker, None)
        seconds = time.process_time() - started
        encoder = load_encoder(last / "tokenizer.json", max_tokens=config.max_tokens)
        scores = score_texts(TorchEngine(last), encoder, _texts_to_predict(problem))
    return seconds, scores.label_ids


def learn_head(problem: Problem, model: Path) -> tuple[float, NDArray[np.int64]]:
    """Fit a logistic regression on the frozen encoder's mean embeddings."""
    from sklearn.linear_model import LogisticRegression

    from sentiment_ray.pretrained.base_encoder import load_base
    from sentiment_ray.train.embedding import embed

    base = load_base(str(model), max_tokens=128)
    started = time.process_time()
    head = LogisticRegression(C=10, max_iter=1000).fit(embed(*base, problem.texts), problem.label_ids)
    seconds = time.process_time() - started
    return seconds, head.predict(embed(*base, _texts_to_predict(problem)))


class SetFit:
    """A process of SetFit's environment, which takes a problem a line and answers with a line."""

    def __init__(self, python: str, model: Path) -> None:
        command = [python, str(CONTENDERS / "few_rows_setfit.py"), str(model)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def learn(self, problem: Problem, seconds: float) -> tuple[float, NDArray[np.int64]]:
        """Train for about so many seconds of the processor."""
        assert self._process.stdin and self._process.stdout
        task = {
            "name": problem.name, "seed": problem.seed, "seconds": seconds, "texts": problem.texts,
            "label_ids": problem.label_ids.tolist(), "test_texts": _texts_to_predict(problem),
        }  # fmt: skip
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["seconds"], np.array(answer["predicted"])


def _texts_to_predict(problem: Problem) -> list[str]:
    return [*problem.test_texts, *(text for text, _ in MESSAGES)]


def describe(problem: Problem, contender: str, seconds: float, predicted: NDArray[np.int64]) -> Result:
    """Return a line of the journal."""
    from sentiment_ray.metrics.classification import classification_metrics, confusion_counts

    ids, messages = predicted[: len(problem.test_ids)], predicted[len(problem.test_ids) :]
    metrics = classification_metrics(confusion_counts(problem.test_ids, ids, len(problem.labels)))
    right = sum(problem.labels[answer] == label for answer, (_, label) in zip(messages, MESSAGES, strict=True))
    return {
        "contender": contender,
        "set": problem.name,
        "rows": len(problem.texts),
        "seed": problem.seed,
        "accuracy": round(metrics["accuracy"], 4),
        "macro_f1": round(metrics["macro_f1"], 4),
        "messages_right": right,
        "seconds": round(seconds, 1),
    }


@click.group()
def main() -> None:
    """Compare ways to learn from few rows."""


@main.command()
@click.option("--setfit", required=True, help="Interpreter of an environment with SetFit.")
@click.option("--samples", default="data/samples", help="Directory of jobs.fetch_samples.")
@click.option("--journal", default="runs/benchmarks/few_rows.jsonl", help="File of finished trainings.")
@click.option("--seeds", default=8)
@click.option("--only", default="ours,setfit,head", help="Contenders: ours, setfit, head, plain.")
@click.option("--sets", default=",".join(SETS))
@click.option("--sizes", default=",".join(map(str, SIZES)))
def measure(setfit: str, samples: str, journal: str, seeds: int, only: str, sets: str, sizes: str) -> None:
    """Train in turns and write a line for each training."""
    import torch

    torch.set_num_threads(1)
    path, model = Path(journal), Path(samples, "minilm").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(line["contender"], line["set"], line["rows"], line["seed"]): line for line in lines}
    peer = SetFit(setfit, model) if "setfit" in only else None
    for seed in range(seeds):
        for size in map(int, sizes.split(",")):
            for name in sets.split(","):
                problem = draw_problem(name, size, seed, Path(samples))
                ways: dict[str, Callable[[], tuple[float, NDArray[np.int64]]]] = {
                    "ours": lambda problem=problem: learn_with_loop(problem, model),
                    "plain": lambda problem=problem: learn_with_loop(problem, model, contrastive_weight=0.0),
                    "head": lambda problem=problem: learn_head(problem, model),
                    "setfit": lambda problem=problem, ours=("ours", name, size, seed): peer.learn(
                        problem, done[ours]["seconds"]
                    ),
                }
                for contender in only.split(","):
                    key = (contender, name, size, seed)
                    if key not in done:
                        done[key] = describe(problem, contender, *ways[contender]())
                        with path.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(done[key]) + "\n")


@main.command()
@click.option("--journal", default="runs/benchmarks/few_rows.jsonl")
@click.option("--date", required=True)
@click.option("--commit", required=True)
@click.option("--machine", required=True, help="Its letter in benchmarks/results/machines.jsonl.")
def summarise(journal: str, date: str, commit: str, machine: str) -> None:
    """Print mean and standard deviation over the seeds, one JSON line for each set, number of rows and way."""
    groups: dict[tuple[str, int, str], list[Result]] = defaultdict(list)
    for line in map(json.loads, Path(journal).read_text(encoding="utf-8").splitlines()):
        groups[line["set"], line["rows"], line["contender"]].append(line)
    for (name, rows, contender), results in sorted(groups.items()):
        accuracies, scores, seconds = ([each[key] for each in results] for key in ("accuracy", "macro_f1", "seconds"))
        few_rows = {
            "set": name,
            "rows": rows,
            "contender": contender,
            "seeds": len(results),
            "accuracy": round(float(np.mean(accuracies)), 3),
            "deviation": round(float(np.std(accuracies)), 3),
            "macro_f1": round(float(np.mean(scores)), 3),
            "seconds": round(float(np.mean(seconds)), 1),
        }
        if name == "everyday":
            few_rows["all_messages_right"] = sum(each["messages_right"] == len(MESSAGES) for each in results)
        summary = {
            "kind": "result",
            "date": date,
            "commit": commit,
            "machine": machine,
            "command": "python benchmarks/few_rows.py measure",
            "what": f"{contender}, {rows} rows of {name}",
            "figure": f"accuracy {few_rows['accuracy']:.3f}, macro-F1 {few_rows['macro_f1']:.3f}, "
            f"{few_rows['seconds']:.1f} s of the processor",
            "spread": f"{len(results)} seeds, standard deviation of the accuracy {few_rows['deviation']:.3f}",
            "question": "small",
            "few_rows": few_rows,
        }
        click.echo(json.dumps(summary, ensure_ascii=False))


if __name__ == "__main__":
    main()
