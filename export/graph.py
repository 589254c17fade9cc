"""A checkpoint to one ONNX file, through Optimum, without needless rows; knows no other variants and no reviews."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from optimum.exporters.onnx import main_export
from transformers.models.deberta_v2 import modeling_deberta_v2

from export.first_token import keep_first_token

OPSET = 18


def export_graph(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint as the ONNX file `target`: batch and length are dynamic, the output is `logits`."""
    with tempfile.TemporaryDirectory() as directory, quiet(), one_way_of_places():
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
def one_way_of_places() -> Iterator[None]:
    """Leave out a choice that DeBERTa never has: relative places are those of its keys where it has as many queries.

    transformers 4.57 scripts the choice, so the file would hold both ways as graphs of their own, which no bundle may.
    """
    scripted = modeling_deberta_v2.build_rpos
    modeling_deberta_v2.build_rpos = lambda _queries, _keys, places, *_sizes: places
    try:
        yield
    finally:
        modeling_deberta_v2.build_rpos = scripted


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converters' notices off the screen and stdout free for the result."""
    root = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(root)
