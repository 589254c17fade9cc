"""An ONNX file to int8, whole or its weights alone; knows nothing of fused graphs or of reviews."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime import quantization
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from export.first_token import made_of_first_row
from export.graph import quiet

STATIC_OPERATORS = ("MatMul", "Gemm")

Feed = dict[str, NDArray[np.int64]]


def quantize(model: Path, checkpoint: Path, target: Path) -> None:
    """Write `model` with int8 weights, one scale a channel, as `target`; activations get one scale a batch.

    Start from the plain file: int8 on the fused graph is slower on x86. `checkpoint` gives the config.json.
    """
    with tempfile.TemporaryDirectory() as directory, quiet():
        shutil.copy(checkpoint / "config.json", directory)
        shutil.copy(model, Path(directory) / "model.onnx")
        quantizer = ORTQuantizer.from_pretrained(directory, file_name="model.onnx")
        configuration = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        quantizer.quantize(save_dir=Path(directory) / "int8", quantization_config=configuration)
        target.write_bytes(next((Path(directory) / "int8").glob("*.onnx")).read_bytes())


def quantize_weights(model: Path, target: Path) -> None:
    """Write `model` with the weights of its matrix products as int8, one scale a channel, as `target`.

    The graph is otherwise that of the plain file, with a DequantizeLinear for each weight, so what activations become
    is left to the engine: OpenVINO gives every token scales of its own where the processor has VNNI and no AMX.
    Products for the first token alone stay as they are: they cost nothing and stand next to the answer.
    """
    graph_of = onnx.load(model)
    graph = graph_of.graph
    one_row = made_of_first_row(graph_of)
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
    onnx.save(graph_of, target)


def quantize_static(model: Path, target: Path, batches: Iterable[Feed]) -> None:
    """Write `model` with int8 matrix products as `target`, whose activations have the scales that `batches` need.

    Activations are uint8 with one scale each, weights int8 with one a channel, as QuantizeLinear and DequantizeLinear.
    Products for the first token alone, the head among them, stay in fp32.
    """
    plain = onnx.load(model)
    one_row = made_of_first_row(plain)
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


class _Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Batches as ONNX Runtime's calibration asks for them, one after the other and None at their end."""

    def __init__(self, batches: Iterable[Feed]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Feed | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)
