"""This project's training: the loop alone, with --half on fewer rows, or with --ray the job under Ray Train."""

import sys
from collections.abc import Iterator
from pathlib import Path

from pyarrow import parquet
from training import Task, parse_task, print_figures, rows_of

from sentiment_ray.train.config import TrainConfig

TOKENS_PER_BATCH = 1024
"""As many as 32 short texts have, so that all contenders take about as many steps."""


def main() -> None:
    """Train, and print what was measured inside."""
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
        cpus_per_worker=0.75 * task.threads,  # the rest reads; a thread for each begun CPU
    )
    history = _under_ray(config, task) if "ray" in task.flags else _alone(config, task)
    seconds = sum(line["tokens"] / line["tokens_per_s"] for line in history)
    print_figures(
        rows=sum(line["train_rows"] for line in history),
        tokens=sum(line["tokens"] for line in history),
        seconds=seconds,
        accuracy=history[-1]["accuracy"],
        validation_loss=history[-1]["validation_loss"],
    )


def _alone(config: TrainConfig, task: Task) -> list[dict[str, float]]:
    import numpy as np
    import torch

    from sentiment_ray.labels import label2id
    from sentiment_ray.train.batches import Window
    from sentiment_ray.train.loop import Task as Learned
    from sentiment_ray.train.loop import Worker, fine_tune
    from sentiment_ray.train.memory import keep_freed_memory

    torch.set_num_threads(task.threads)
    keep_freed_memory()
    rows = {split: rows_of(task, split) for split in ("train", "validation")}
    labels = tuple(sorted(set(rows["train"][1])))
    if "half" in task.flags:
        rows["train"] = tuple(values[: len(values) // 2] for values in rows["train"])

    def windows(split: str, num_rows: int) -> Iterator[Window]:
        texts, names = rows[split]
        ids = np.array([label2id(labels)[name] for name in names])
        for start in range(0, len(texts), num_rows):
            yield Window(texts[start : start + num_rows], ids[start : start + num_rows])

    def show(epochs_done: float, loss: float) -> None:
        sys.stderr.write(f"{epochs_done:.2f} {loss:.3f}\n")

    worker = Worker(
        rank=0,
        world_size=1,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        windows=windows,
        wrap=lambda model: model,
        report=lambda *_: None,
        show=show,
    )
    learned = Learned(labels, [1.0] * len(labels), len(rows["train"][0]))
    return fine_tune(config, learned, worker, None)


def _under_ray(config: TrainConfig, task: Task) -> list[dict[str, float]]:
    import json

    from sentiment_ray.cluster import connect
    from sentiment_ray.manifest import write_json
    from sentiment_ray.train.trainer import train_encoder

    counts, by_split = {}, {}
    for split in ("train", "validation"):
        names = parquet.read_table(Path(task.input) / split, columns=["label"])["label"].to_pylist()
        counts[split], by_split[split] = len(names), {name: names.count(name) for name in sorted(set(names))}
    said = {"labels": sorted(by_split["train"]), "counts": counts | {"test": 0}, "by_split": by_split}
    write_json(Path(task.input) / "prepared.json", said)
    Path(task.output).mkdir(parents=True)
    connect()
    train_encoder(config)
    return list(json.loads((Path(config.output) / "run.json").read_text())["history"])


if __name__ == "__main__":
    main()
