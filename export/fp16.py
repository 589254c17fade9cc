"""Converts an ONNX file to fp16, for GPUs and browsers. Knows nothing of int8 or of reviews."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.graph import quiet


def to_fp16(model: Path, target: Path) -> None:
    """Write `model` with weights and activations in fp16 as `target`. Its logits stay float32."""
    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), target)
