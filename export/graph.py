"""A checkpoint to one ONNX file, through Optimum; knows nothing of other variants or of reviews."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from optimum.exporters.onnx import main_export

OPSET = 18


def export_graph(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint as the ONNX file `target`: batch and length are dynamic, the output is `logits`."""
    with tempfile.TemporaryDirectory() as directory, quiet():
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
        target.write_bytes((Path(directory) / "model.onnx").read_bytes())


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
