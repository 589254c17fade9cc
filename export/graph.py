"""Exports a checkpoint to the plain ONNX file, through Optimum. Knows no other variants and no reviews."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import transformers
from optimum.exporters.onnx import main_export
from transformers.models.deberta_v2 import modeling_deberta_v2

from export.first_token import keep_first_token

OPSET = 18


def export_graph(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint as the ONNX file `target`. Batch and length are dynamic; the output is `logits`.

    The last layer computes only the rows that are used; see `export.first_token`.
    """
    with tempfile.TemporaryDirectory() as directory, quiet(), without_scripted_positions():
        main_export(
            str(checkpoint),
            output=directory,
            task="text-classification",
            opset=OPSET,
            device="cpu",
            do_validation=False,  # the gate compares on real reviews instead of random input
            trust_remote_code=False,
            local_files_only=True,
        )
        onnx.save(keep_first_token(onnx.load(Path(directory) / "model.onnx")), target)


@contextlib.contextmanager
def without_scripted_positions() -> Iterator[None]:
    """Replace DeBERTa's scripted choice of relative positions by the branch that an encoder always takes.

    An encoder has as many queries as keys. transformers 4.57 compiles the choice with TorchScript, so the ONNX file
    would hold both branches as subgraphs, which a bundle must not have.
    """
    assert transformers.__version__.startswith("4.57."), f"transformers {transformers.__version__}: check build_rpos"
    scripted = modeling_deberta_v2.build_rpos
    modeling_deberta_v2.build_rpos = lambda _queries, _keys, positions, *_sizes: positions
    try:
        yield
    finally:
        modeling_deberta_v2.build_rpos = scripted


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
