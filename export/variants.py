"""The table of variants: the ONNX files that a bundle may hold. To add one, write its function and its row.

A function loads its libraries when it is called, so that `--help` is quick. Knows nothing of gates.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentiment_ray.text.encoding import TextEncoder


@dataclass(frozen=True)
class Source:
    """What variants are made from.

    `model` is the plain ONNX file and `checkpoint` the directory that it was exported from. Static quantisation
    measures activations on `calibration_texts`, which the gate should not use.
    """

    model: Path
    checkpoint: Path
    encoder: TextEncoder
    calibration_texts: list[str]


@dataclass(frozen=True)
class VariantSpec:
    """A row of the table: the file in the bundle, its precision for the manifest, and the function that writes it."""

    file: str
    precision: Literal["fp32", "fp16", "int8"]
    write: Callable[[Source, Path], None]


def _write_fp32(source: Source, target: Path) -> None:
    shutil.copy(source.model, target)


def _write_optimized(source: Source, target: Path) -> None:
    from export.optimize import optimize

    optimize(source.model, source.checkpoint, target)


def _write_fp16(source: Source, target: Path) -> None:
    from export.fp16 import to_fp16

    to_fp16(source.model, target)


def _write_int8_weights(source: Source, target: Path) -> None:
    from export.quantize import quantize_weights

    quantize_weights(source.model, target)


def _write_int8_static(source: Source, target: Path) -> None:
    from export.quantize import make_calibration_batches, quantize_static

    quantize_static(source.model, target, make_calibration_batches(source.encoder, source.calibration_texts))


def _write_int8(source: Source, target: Path) -> None:
    from export.quantize import quantize_dynamic

    quantize_dynamic(source.model, source.checkpoint, target)


VARIANTS = {
    "fp32": VariantSpec("onnx/model.onnx", "fp32", _write_fp32),
    "optimized": VariantSpec("onnx/model_optimized.onnx", "fp32", _write_optimized),
    "fp16": VariantSpec("onnx/model_fp16.onnx", "fp16", _write_fp16),
    "int8_weights": VariantSpec("onnx/model_quantized_weights.onnx", "int8", _write_int8_weights),
    "int8_static": VariantSpec("onnx/model_quantized_static.onnx", "int8", _write_int8_static),
    "int8": VariantSpec("onnx/model_quantized.onnx", "int8", _write_int8),
}
"""The most exact variant first: of two that are about as fast, the earlier one becomes the default."""
