"""The labels to compare with: torch in fp32, one text at a time, no padding, no pipeline.

It is measured with nobody; its labels are what every other contender has to give.
"""

from pathlib import Path

import pyarrow as pa
import torch
from contender import Task, parse_task, timed
from pyarrow import parquet
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def label_all(task: Task, texts: list[str]) -> list[str]:
    """Return the label of each text."""
    tokenizer = AutoTokenizer.from_pretrained(task.checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(task.checkpoint).eval()
    labels = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=task.max_tokens, return_tensors="pt")
            labels.append(model.config.id2label[int(model(**encoded).logits.argmax())])
    return labels


def main() -> None:
    """Label every row of every file and write one file."""
    task = parse_task(__doc__)
    torch.set_num_threads(task.threads)
    with timed(task):
        table = parquet.read_table(task.input)
        labelled = table.append_column("label", pa.array(label_all(task, table["text"].to_pylist())))
        Path(task.output).mkdir(parents=True)
        parquet.write_table(labelled, Path(task.output) / "labels.parquet")


if __name__ == "__main__":
    main()
