"""Ray Data with ONNX Runtime through Optimum, tuned: sessions of one thread without spinning, texts sorted by length.

`--file model_quantized.onnx` takes Optimum's int8 model. README.md lists what was tried.
"""

import argparse

import numpy as np
import onnxruntime
import ray
from contender import parse_task, timed
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

ROWS_PER_BATCH = 256
TEXTS_PER_RUN = 4


class TextClassifier:
    """A session of one thread in each actor, which gets texts of similar length together."""

    def __init__(self, directory: str, file: str, max_tokens: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = ORTModelForSequenceClassification.from_pretrained(directory, file_name=file, session_options=options)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = pipeline("text-classification", model=model, tokenizer=tokenizer, batch_size=TEXTS_PER_RUN)
        self.max_tokens = max_tokens

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add the label of every text of a batch."""
        order = np.argsort([len(text) for text in batch["text"]])
        predictions = self.model(list(batch["text"][order]), truncation=True, max_length=self.max_tokens)
        labels = np.empty(len(order), dtype=object)
        labels[order] = [prediction["label"] for prediction in predictions]
        return batch | {"label": labels}


def main() -> None:
    """Read, classify in one actor for each thread, write."""
    task = parse_task(__doc__)
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", default="model.onnx")
    file = parser.parse_args(task.rest).file
    ray.init(num_cpus=task.threads + 1, include_dashboard=False)
    with timed(task):
        rows = ray.data.read_parquet(task.input)
        labelled = rows.map_batches(
            TextClassifier,
            fn_constructor_args=(task.optimum, file, task.max_tokens),
            compute=ray.data.ActorPoolStrategy(size=task.threads),
            batch_size=ROWS_PER_BATCH,
        )
        labelled.write_parquet(task.output)


if __name__ == "__main__":
    main()
