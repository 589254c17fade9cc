"""This project's training: the loop alone (with --half on half of the rows), or with --ray the job under Ray Train."""

import sys
from collections.abc import Iterator
from pathlib import Path

from pyarrow import parquet
from training import Task, parse_task, print_figures, read_split

from sentiment_ray.train.config import TrainConfig

TOKENS_PER_BATCH = 1024
"""About the tokens of 32 short texts, so all contenders take about the same number of steps."""


def main() -> None:
    """Train and print the figures."""
    task = parse_task(__doc__, flags=("ray", "model-dropout", "half"))
    config = TrainConfig(
        prepared=task.input,
        model=task.checkpoint,
        output=f"{task.output}/run",
        epochs=task.epochs,
        learning_rate=task.learning_rate,
        tokens_per_batch=TOKENS_PER_BATCH,
        max_tokens=task.max_tokens,
        dropout=None if "model-dropout" in task.flags else 0.0,
        checkpoint_every_s=1e9,
        cpus_per_worker=0.75 * task.threads,  # the rest is left for reading; threads are rounded up
    )
    history = _train_under_ray(config, task) if "ray" in task.flags else _train_alone(config, task)
    seconds = sum(line["tokens"] / line["tokens_per_s"] for line in history)
    print_figures(
        rows=sum(line["train_rows"] for line in history),
        tokens=sum(line["tokens"] for line in history),
        seconds=seconds,
        accuracy=history[-1]["accuracy"],
        validation_loss=history[-1]["validation_loss"],
    )


def _train_alone(config: TrainConfig, task: Task) -> list[dict[str, float]]:
    import numpy as np
    import torch

    from sentiment_ray.labels import label2id
    from sentiment_ray.train.batches import Chunk
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.memory import keep_freed_memory
    from sentiment_ray.train.setup import Worker
    from sentiment_ray.train.task import Task as LearningTask

    torch.set_num_threads(task.threads)
    keep_freed_memory()
    rows = {split: read_split(task, split) for split in ("train", "validation")}
    labels = tuple(sorted(set(rows["train"][1])))
    if "half" in task.flags:
        rows["train"] = tuple(values[: len(values) // 2] for values in rows["train"])

    def read_chunks(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        texts, names = rows[split]
        ids = np.array([label2id(labels)[name] for name in names])
        for start in range(0, len(texts), num_rows):
            yield Chunk(texts[start : start + num_rows], ids[start : start + num_rows])

    def show(epochs_done: float, loss: float) -> None:
        sys.stderr.write(f"{epochs_done:.2f} {loss:.3f}\n")

    worker = Worker(
        rank=0,
        world_size=1,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        read_chunks=read_chunks,
        wrap=lambda model: model,
        report=lambda *_: None,
        show=show,
    )
    learning_task = LearningTask(labels, [1.0] * len(labels), len(rows["train"][0]))
    return fine_tune(config, learning_task, worker, None)


def _train_under_ray(config: TrainConfig, task: Task) -> list[dict[str, float]]:
    import json

    from sentiment_ray.cluster import connect
    from sentiment_ray.manifest import write_json
    from sentiment_ray.train.trainer import train_encoder

    counts, by_split = {}, {}
    for split in ("train", "validation"):
        names = parquet.read_table(Path(task.input) / split, columns=["label"])["label"].to_pylist()
        counts[split], by_split[split] = len(names), {name: names.count(name) for name in sorted(set(names))}
    manifest = {"labels": sorted(by_split["train"]), "counts": counts | {"test": 0}, "by_split": by_split}
    write_json(Path(task.input) / "prepared.json", manifest)
    Path(task.output).mkdir(parents=True)
    connect()
    train_encoder(config)
    return list(json.loads((Path(config.output) / "run.json").read_text())["history"])


if __name__ == "__main__":
    main()
