"""The ONNX files of a bundle, each made of the plain one; knows what each is called, nothing of gates."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.fp16 import to_fp16
from export.optimize import optimize
from export.quantize import quantize, quantize_static, quantize_weights
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import TextEncoder, encode, equal_length_batches, pad

FILES = {
    "fp32": "onnx/model.onnx",
    "optimized": "onnx/model_optimized.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8_weights": "onnx/model_quantized_weights.onnx",
    "int8_static": "onnx/model_quantized_static.onnx",
    "int8": "onnx/model_quantized.onnx",
}
PRECISIONS = {"fp32": "fp32", "optimized": "fp32", "fp16": "fp16"}
"""Those that are not int8."""
CALIBRATION_TEXTS = 96
CALIBRATION_TOKENS = 1024


def write_variant(name: str, directory: Path, checkpoint: Path, encoder: TextEncoder, texts: list[str]) -> None:
    """Write one variant into a bundle that holds the plain file; `texts` show static quantisation what to expect."""
    plain, target = directory / FILES["fp32"], directory / FILES[name]
    if name == "optimized":
        optimize(plain, checkpoint, target)
    elif name == "fp16":
        to_fp16(plain, target)
    elif name == "int8_weights":
        quantize_weights(plain, target)
    elif name == "int8_static":
        quantize_static(plain, target, _batches(encoder, texts))
    elif name == "int8":
        quantize(plain, checkpoint, target)


def _batches(encoder: TextEncoder, texts: list[str]) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Yield batches of one length, of texts of all lengths alike: every n-th of the texts by length."""
    encoded = encode(encoder, texts)
    order = np.argsort(encoded.lengths, kind="stable")
    chosen = order[evenly_spaced_rows(len(order), CALIBRATION_TEXTS)]
    for places in equal_length_batches(encoded.lengths[chosen], tokens_per_batch=CALIBRATION_TOKENS):
        input_ids, attention_mask = pad([encoded.ids[chosen[place]] for place in places], pad_id=encoder.pad_id)
        yield {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": np.zeros_like(input_ids),
        }
