"""SetFit (https://huggingface.co/docs/setfit): contrastive pairs with the cosine loss, then a logistic regression.

Reads a problem a line from stdin and answers with a line on stdout. It is called as its documentation shows, with the
defaults except the number of steps, which is as large as the given seconds allow.
"""

import json
import logging
import os
import sys
import time
import warnings
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from sentence_transformers import SentenceTransformer, models
from setfit import SetFitModel, Trainer, TrainingArguments

STEPS_TO_TIME = 3


def main() -> None:
    """Answer every line of stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print goes to stderr
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    disable_progress_bars()
    directory = f"{sys.argv[1]}-sentence-transformers"
    body = models.Transformer(sys.argv[1], max_seq_length=128)
    SentenceTransformer(modules=[body, models.Pooling(body.get_word_embedding_dimension(), "mean"), models.Normalize()],
                        device="cpu").save(directory)  # fmt: skip
    seconds_per_step: dict[str, float] = {}
    for line in sys.stdin:
        task = json.loads(line)
        if task["name"] not in seconds_per_step:
            seconds, _ = train(directory, task, STEPS_TO_TIME)
            again, _ = train(directory, task, 3 * STEPS_TO_TIME)
            seconds_per_step[task["name"]] = (again - seconds) / (2 * STEPS_TO_TIME)
        steps = max(1, round(task["seconds"] / seconds_per_step[task["name"]]))
        seconds, model = train(directory, task, steps)
        predicted = [int(label) for label in model.predict(task["test_texts"], show_progress_bar=False)]
        answers.write(json.dumps({"seconds": seconds, "steps": steps, "predicted": predicted}) + "\n")
        answers.flush()


def train(directory: str, task: dict[str, Any], steps: int) -> tuple[float, SetFitModel]:
    """Return the seconds of the processor and the trained model."""
    model = SetFitModel.from_pretrained(directory, device="cpu")
    arguments = TrainingArguments(
        batch_size=16, max_steps=steps, seed=task["seed"], report_to="none", show_progress_bar=False,
        save_strategy="no", eval_strategy="no", logging_strategy="no", output_dir=f"{directory}-output",
    )  # fmt: skip
    dataset = Dataset.from_dict({"text": task["texts"], "label": task["label_ids"]})
    started = time.process_time()
    Trainer(model=model, args=arguments, train_dataset=dataset).train()
    return time.process_time() - started, model


if __name__ == "__main__":
    main()
