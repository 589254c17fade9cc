"""Quantises an ONNX file to int8: weights and activations, or weights alone. Knows nothing of fused graphs."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime import quantization
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from export.first_token import find_first_row_tensors
from export.graph import quiet
from export.static_calibration import CALIBRATION_TEXTS
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.batching import equal_length_batches, pad
from sentiment_ray.text.encoding import TextEncoder, encode

STATIC_OPERATORS = ("MatMul", "Gemm")
CALIBRATION_TOKENS = 1024
"""Tokens of one batch."""

Feed = dict[str, NDArray[np.int64]]
"""The inputs of a model by name, int64 `(batch, tokens)`."""


def quantize_dynamic(model: Path, checkpoint: Path, target: Path) -> None:
    """Write `model` with int8 weights as `target`: one scale for each channel, and one scale for a batch's activations.

    `model` should be the plain file: int8 on the fused graph is slower on x86. `checkpoint` has the config.json.
    """
    with tempfile.TemporaryDirectory() as directory, quiet():
        shutil.copy(checkpoint / "config.json", directory)
        shutil.copy(model, Path(directory) / "model.onnx")
        quantizer = ORTQuantizer.from_pretrained(directory, file_name="model.onnx")
        configuration = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        quantizer.quantize(save_dir=Path(directory) / "int8", quantization_config=configuration)
        target.write_bytes(next((Path(directory) / "int8").glob("*.onnx")).read_bytes())


def quantize_weights(model: Path, target: Path) -> None:
    """Write `model` as `target` with the weights of its matrix products as int8, one scale for each channel.

    Otherwise the graph stays the same, with one DequantizeLinear for each weight. So the engine decides what
    activations become: OpenVINO gives every token its own scales where the processor has VNNI and no AMX. Products for
    the first token alone stay in fp32: they cost next to nothing and are close to the answer.
    """
    loaded = onnx.load(model)
    graph = loaded.graph
    one_row = find_first_row_tensors(loaded)
    weights = {value.name: value for value in graph.initializer if len(value.dims) == 2}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    kept = {node.input[1] for node in products if node.output[0] in one_row}
    chosen = dict.fromkeys(node.input[1] for node in products if node.input[1] not in kept)
    restored = []
    for name in chosen:
        values = numpy_helper.to_array(weights[name])
        scale = np.maximum(np.abs(values).max(axis=0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        parts = {
            f"{name}_int8": np.rint(values / scale).astype(np.int8),
            f"{name}_scale": scale,
            f"{name}_zero": np.zeros(scale.shape, dtype=np.int8),
        }
        graph.initializer.remove(weights[name])
        graph.initializer.extend(numpy_helper.from_array(part, key) for key, part in parts.items())
        restored.append(helper.make_node("DequantizeLinear", list(parts), [name], axis=1))
    nodes = [*restored, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(loaded, target)


def quantize_static(model: Path, target: Path, batches: Iterable[Feed]) -> None:
    """Write `model` with int8 matrix products as `target`. The scales of its activations are measured on `batches`.

    Activations are uint8 with one scale for each tensor, weights int8 with one for each channel, as QuantizeLinear and
    DequantizeLinear. Products for the first token alone stay in fp32, the classification head among them.
    """
    plain = onnx.load(model)
    one_row = find_first_row_tensors(plain)
    inputs = {value.name for value in plain.graph.input}
    feeds = ({name: values for name, values in batch.items() if name in inputs} for batch in batches)
    with tempfile.TemporaryDirectory() as directory, quiet():
        quantization.quantize_static(
            model,
            Path(directory) / "model.onnx",
            _Batches(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(STATIC_OPERATORS),
            nodes_to_exclude=[node.name for node in plain.graph.node if node.output[0] in one_row],
            extra_options={"MatMulConstBOnly": True},
        )
        target.write_bytes((Path(directory) / "model.onnx").read_bytes())


def make_calibration_batches(encoder: TextEncoder, texts: list[str]) -> Iterator[Feed]:
    """Yield batches of texts of one length each; the texts are evenly spaced by length."""
    encoded = encode(encoder, texts)
    order = np.argsort(encoded.lengths, kind="stable")
    chosen = order[evenly_spaced_rows(len(order), CALIBRATION_TEXTS)]
    for indices in equal_length_batches(encoded.lengths[chosen], tokens_per_batch=CALIBRATION_TOKENS):
        input_ids, attention_mask = pad([encoded.ids[chosen[index]] for index in indices], pad_id=encoder.pad_id)
        yield {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": np.zeros_like(input_ids),
        }


class _Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Gives batches to ONNX Runtime's calibration one by one, and None at the end."""

    def __init__(self, batches: Iterable[Feed]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Feed | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)
