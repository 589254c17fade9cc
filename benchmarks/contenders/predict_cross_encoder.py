"""sentence-transformers' CrossEncoder on single texts, with torch or with ONNX Runtime.

Its `predict` takes only pairs of texts, so this does the same steps: sort by length, batches of 32, `preprocess`, the
model, softmax (https://sbert.net/docs/cross_encoder/usage/efficiency.html).
"""

import argparse
from typing import Any

import torch
from contender import Task
from prediction import Answers, Loaded, Padding, count_padding, measure, read_labels, sort_by_length
from sentence_transformers import CrossEncoder

TEXTS_PER_BATCH = 32


def load(task: Task) -> Loaded:
    """Load the checkpoint, or Optimum's ONNX file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch")
    options = parser.parse_args(task.rest)
    torch.set_num_threads(task.threads)
    settings: dict[str, Any] = {"device": "cpu", "max_length": task.max_tokens}
    if options.backend == "onnx":
        model = CrossEncoder(task.optimum, backend="onnx", model_kwargs={"file_name": "model.onnx"}, **settings)
    else:
        model = CrossEncoder(task.checkpoint, **settings)
    labels = read_labels(task)
    padding = Padding()
    count_padding(model.model, padding)

    @torch.inference_mode()
    def predict(texts: list[str]) -> Answers:
        starts = range(0, len(texts), TEXTS_PER_BATCH)
        batches = (texts[start : start + TEXTS_PER_BATCH] for start in starts)
        probabilities = torch.cat([model(model.preprocess(batch))["scores"].softmax(dim=1) for batch in batches])
        scores, indices = probabilities.max(dim=1)
        return [labels[index] for index in indices.tolist()], scores.tolist()

    return Loaded(sort_by_length(predict), padding.share)


if __name__ == "__main__":
    measure(__doc__, load)
