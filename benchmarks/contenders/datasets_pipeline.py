"""The datasets library with a transformers pipeline, as documented.

`map(batched=True)`: https://huggingface.co/docs/datasets/about_map_batch; the pipeline over a list of texts:
https://huggingface.co/docs/transformers/pipeline_tutorial.
"""

from pathlib import Path

import torch
from contender import parse_task, timed
from datasets import load_dataset
from transformers import pipeline


def main() -> None:
    """Read, classify in this process, write one file."""
    task = parse_task(__doc__)
    torch.set_num_threads(task.threads)
    Path(task.output).mkdir(parents=True)
    with timed(task):
        classifier = pipeline("text-classification", model=task.checkpoint)

        def classify(batch: dict[str, list[str]]) -> dict[str, list[str]]:
            predictions = classifier(list(batch["text"]), truncation=True, max_length=task.max_tokens)
            return {"label": [prediction["label"] for prediction in predictions]}

        rows = load_dataset("parquet", data_files=f"{task.input}/*.parquet", split="train")
        rows.map(classify, batched=True).to_parquet(f"{task.output}/labels.parquet")


if __name__ == "__main__":
    main()
