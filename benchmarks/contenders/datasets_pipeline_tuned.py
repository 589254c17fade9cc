"""The datasets library with a transformers pipeline, tuned: sorted by length, KeyDataset in small batches, bf16.

KeyDataset and its `batch_size`: https://huggingface.co/docs/transformers/pipeline_tutorial#batch-inference. README.md
lists what was tried.
"""

from pathlib import Path

import torch
from contender import parse_task, timed
from datasets import load_dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

TEXTS_PER_FORWARD = 8


def main() -> None:
    """Read, sort, classify in this process, write one file."""
    task = parse_task(__doc__)
    torch.set_num_threads(task.threads)
    Path(task.output).mkdir(parents=True)
    with timed(task):
        classifier = pipeline("text-classification", model=task.checkpoint, dtype=torch.bfloat16)
        rows = load_dataset("parquet", data_files=f"{task.input}/*.parquet", split="train")
        lengths = [len(text) for text in rows["text"]]
        rows = rows.select(sorted(range(len(rows)), key=lengths.__getitem__))
        predictions = classifier(
            KeyDataset(rows, "text"), batch_size=TEXTS_PER_FORWARD, truncation=True, max_length=task.max_tokens
        )
        labelled = rows.add_column("label", [prediction["label"] for prediction in predictions])
        labelled.to_parquet(f"{task.output}/labels.parquet")


if __name__ == "__main__":
    main()
