"""Daft with a transformers pipeline in a class, as documented.

`daft.cls` and `daft.method.batch`: https://docs.daft.ai/en/stable/custom-code/cls/. Daft's own runner, one process.
"""

import daft
import torch
from contender import parse_task, timed
from transformers import pipeline


@daft.cls
class TextClassifier:
    """A pipeline, made once in each worker."""

    def __init__(self, checkpoint: str, max_tokens: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = pipeline("text-classification", model=checkpoint)
        self.max_tokens = max_tokens

    @daft.method.batch(return_dtype=daft.DataType.string())
    def label(self, texts: daft.Series) -> list[str]:
        """Return the label of every text of a batch."""
        predictions = self.model(texts.to_pylist(), truncation=True, max_length=self.max_tokens)
        return [prediction["label"] for prediction in predictions]


def main() -> None:
    """Read, classify, write."""
    task = parse_task(__doc__)
    classifier = TextClassifier(task.checkpoint, task.max_tokens, task.threads)
    with timed(task):
        rows = daft.read_parquet(f"{task.input}/*.parquet")
        rows.with_column("label", classifier.label(rows["text"])).write_parquet(task.output)


if __name__ == "__main__":
    main()
