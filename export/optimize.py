"""Fuses the operators of an ONNX file, through Optimum. Knows nothing of quantisation or of reviews."""

import shutil
import tempfile
from pathlib import Path

from optimum.onnxruntime import ORTOptimizer
from optimum.onnxruntime.configuration import OptimizationConfig

from export.graph import quiet


def optimize(model: Path, checkpoint: Path, target: Path) -> None:
    """Write `model` with attention, layer norm and GELU fused for ONNX Runtime as `target`.

    The config.json in `checkpoint` names the architecture.
    """
    with tempfile.TemporaryDirectory() as directory, quiet():
        shutil.copy(checkpoint / "config.json", directory)
        shutil.copy(model, Path(directory) / "model.onnx")
        optimizer = ORTOptimizer.from_pretrained(directory, file_names=["model.onnx"])
        optimizer.optimize(
            save_dir=Path(directory) / "optimized",
            optimization_config=OptimizationConfig(optimization_level=2),
            one_external_file=False,
        )
        target.write_bytes(next((Path(directory) / "optimized").glob("*.onnx")).read_bytes())
