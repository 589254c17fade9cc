"""CTranslate2's BERT encoder, the classification head in NumPy, as documented or tuned.

As documented: `Encoder.forward_batch` on the output of `ct2-transformers-converter`, in batches of 32 texts in the
given order (https://opennmt.net/CTranslate2/guides/transformers.html#bert). Tuned: `--budget` sorts by length and takes
2,048 tokens at once; `--export ctranslate2-int8` takes int8 weights.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from contender import Task
from numpy.typing import NDArray
from prediction import Loaded, Padding, export_path, measure
from safetensors.numpy import load_file
from token_batches import batches_in_order, batches_under_budget, build_predictor


def load(task: Task) -> Loaded:
    """Load the encoder, and the head's weights of the checkpoint."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--export", default="ctranslate2")
    options = parser.parse_args(task.rest)
    directory = str(export_path(task, options.export))
    encoder = ctranslate2.Encoder(directory, device="cpu", inter_threads=1, intra_threads=task.threads)
    head = load_file(Path(task.checkpoint) / "model.safetensors")
    weight, bias = head["classifier.weight"], head["classifier.bias"]
    padding = Padding()

    def run(batches: Iterator[Any], logits: NDArray[np.float32]) -> None:
        for indices, ids in batches:
            lengths = np.array([len(row) for row in ids])
            padding.add(int(lengths.sum()), int(lengths.max()) * len(lengths))
            logits[indices] = np.array(encoder.forward_batch(ids).pooler_output) @ weight.T + bias

    return Loaded(
        build_predictor(task, run, batches_under_budget if options.budget else batches_in_order), padding.share
    )


if __name__ == "__main__":
    measure(__doc__, load)
