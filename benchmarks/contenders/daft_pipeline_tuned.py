"""Daft with a transformers pipeline in a class, tuned: a process for each thread, sorted by length, batches, bf16.

`max_concurrency`, `use_process`, `batch_size`: https://docs.daft.ai/en/stable/custom-code/cls/. README.md lists what
was tried.
"""

import daft
import torch
from contender import parse_task, timed
from transformers import pipeline

ROWS_PER_BATCH = 256
TEXTS_PER_FORWARD = 8


class TextClassifier:
    """A pipeline, made once in each process, that gets texts of similar length together."""

    def __init__(self, checkpoint: str, max_tokens: int) -> None:
        torch.set_num_threads(1)
        self.model = pipeline(
            "text-classification", model=checkpoint, dtype=torch.bfloat16, batch_size=TEXTS_PER_FORWARD
        )
        self.max_tokens = max_tokens

    @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=ROWS_PER_BATCH)
    def label(self, texts: daft.Series) -> list[str]:
        """Return the label of every text of a batch."""
        values = texts.to_pylist()
        order = sorted(range(len(values)), key=lambda index: len(values[index]))
        predictions = self.model([values[index] for index in order], truncation=True, max_length=self.max_tokens)
        labels = dict(zip(order, (prediction["label"] for prediction in predictions), strict=True))
        return [labels[index] for index in range(len(values))]


def main() -> None:
    """Read, classify, write."""
    task = parse_task(__doc__)
    classifier = daft.cls(TextClassifier, max_concurrency=task.threads, use_process=True)(
        task.checkpoint, task.max_tokens
    )
    with timed(task):
        rows = daft.read_parquet(f"{task.input}/*.parquet")
        rows.with_column("label", classifier.label(rows["text"])).write_parquet(task.output)


if __name__ == "__main__":
    main()
