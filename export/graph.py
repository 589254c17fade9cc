"""Exports a checkpoint to the plain ONNX file, through Optimum. Knows no other variants and no reviews."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import onnx
from optimum.exporters.onnx import main_export

from export.first_token import keep_first_token
from sentiment_ray.pretrained.patches import without_scripted_positions

OPSET = 18


def export_graph(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint as the ONNX file `target`. Batch and length are dynamic; the output is `logits`.

    The last layer computes only the rows that are used; see `export.first_token`.
    """
    onnx.save(keep_first_token(convert(checkpoint, "text-classification")), target)


def convert(checkpoint: Path, task: Literal["text-classification", "feature-extraction"]) -> onnx.ModelProto:
    """Return the graph that Optimum makes of a checkpoint; its output is `logits` or `last_hidden_state`."""
    with tempfile.TemporaryDirectory() as directory, quiet(), without_scripted_positions():
        main_export(
            str(checkpoint),
            output=directory,
            task=task,
            opset=OPSET,
            device="cpu",
            do_validation=False,  # the gate compares on real reviews instead of random input
            trust_remote_code=False,
            local_files_only=True,
        )
        return onnx.load(Path(directory) / "model.onnx")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the converters' notices, and keep stdout free for the result."""
    root = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(root)
