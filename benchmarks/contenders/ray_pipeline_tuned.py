"""Ray Data with a transformers pipeline, tuned: batches sorted by length and cut into small ones, bf16.

The pipeline pads a batch to its longest text, so texts of equal length need no padding. README.md lists what was tried.
"""

import numpy as np
import ray
import torch
from contender import parse_task, timed
from transformers import pipeline

ROWS_PER_BATCH = 256
TEXTS_PER_FORWARD = 8


class TextClassifier:
    """A pipeline, made once in each actor, that gets texts of similar length together."""

    def __init__(self, checkpoint: str, max_tokens: int) -> None:
        torch.set_num_threads(1)
        self.model = pipeline(
            "text-classification", model=checkpoint, dtype=torch.bfloat16, batch_size=TEXTS_PER_FORWARD
        )
        self.max_tokens = max_tokens

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add the label of every text of a batch."""
        order = np.argsort([len(text) for text in batch["text"]])
        sorted_texts = list(batch["text"][order])
        predictions = self.model(sorted_texts, truncation=True, max_length=self.max_tokens)
        labels = np.empty(len(order), dtype=object)
        labels[order] = [prediction["label"] for prediction in predictions]
        return batch | {"label": labels}


def main() -> None:
    """Read, classify in one actor for each thread, write."""
    task = parse_task(__doc__)
    ray.init(num_cpus=task.threads + 1, include_dashboard=False)
    with timed(task):
        rows = ray.data.read_parquet(task.input)
        labelled = rows.map_batches(
            TextClassifier,
            fn_constructor_args=(task.checkpoint, task.max_tokens),
            compute=ray.data.ActorPoolStrategy(size=task.threads),
            batch_size=ROWS_PER_BATCH,
        )
        labelled.write_parquet(task.output)


if __name__ == "__main__":
    main()
