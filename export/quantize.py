"""An ONNX file to int8, through Optimum; knows nothing of fused graphs or of reviews."""

import shutil
import tempfile
from pathlib import Path

from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from export.graph import quiet


def quantize(model: Path, checkpoint: Path, target: Path) -> None:
    """Write `model` with int8 weights, one scale a channel, as `target`; activations are quantised as they come.

    Start from the plain file: int8 on the fused graph is slower on x86. `checkpoint` gives the config.json.
    """
    with tempfile.TemporaryDirectory() as directory, quiet():
        shutil.copy(checkpoint / "config.json", directory)
        shutil.copy(model, Path(directory) / "model.onnx")
        quantizer = ORTQuantizer.from_pretrained(directory, file_name="model.onnx")
        configuration = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        quantizer.quantize(save_dir=Path(directory) / "int8", quantization_config=configuration)
        target.write_bytes(next((Path(directory) / "int8").glob("*.onnx")).read_bytes())
