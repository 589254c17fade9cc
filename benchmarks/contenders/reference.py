"""The reference labels: torch in fp32, one text at a time, without padding and without a pipeline.

Its speed is not measured. Every contender must give the same labels. The output also has the probability of each label
and the number of tokens.
"""

from pathlib import Path

import pyarrow as pa
import torch
from contender import Task, parse_task, timed
from pyarrow import parquet
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def answer_all(task: Task, texts: list[str]) -> dict[str, list[str | float | int]]:
    """Return the label of each text, its probability, and the tokens of the text."""
    tokenizer = AutoTokenizer.from_pretrained(task.checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(task.checkpoint).eval()
    answers: dict[str, list[str | float | int]] = {"label": [], "score": [], "tokens": []}
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=task.max_tokens, return_tensors="pt")
            probabilities = model(**encoded).logits[0].softmax(0)
            answers["label"].append(model.config.id2label[int(probabilities.argmax())])
            answers["score"].append(float(probabilities.max()))
            answers["tokens"].append(encoded["input_ids"].shape[1])
    return answers


def main() -> None:
    """Label every row of every file and write one file."""
    task = parse_task(__doc__)
    torch.set_num_threads(task.threads)
    with timed(task):
        table = parquet.read_table(task.input)
        for name, values in answer_all(task, table["text"].to_pylist()).items():
            table = table.append_column(name, pa.array(values))
        Path(task.output).mkdir(parents=True)
        parquet.write_table(table, Path(task.output) / "labels.parquet")


if __name__ == "__main__":
    main()
