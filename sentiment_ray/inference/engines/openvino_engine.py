"""Runs an ONNX file with OpenVINO on the CPU, which uses bf16 by itself where the processor has it."""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as opset

LARGEST_GROUP = 128
"""As fast as a whole row of 384 and nearer to the exact answer; see docs/benchmarks.md."""


class OpenVinoEngine:
    """A compiled OpenVINO model with one stream; safe to call from one thread at a time."""

    name = "openvino"

    def __init__(self, model: bytes, threads: int) -> None:
        core = openvino.Core()
        config = _config(threads)
        graph = core.read_model(io.BytesIO(model))
        group = _group_size(graph)
        if group:
            config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
        self._compiled = core.compile_model(graph, "CPU", config)
        self._inputs = {name for port in self._compiled.inputs for name in port.names}
        self._request = self._compiled.create_infer_request()

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.inference.engines.Engine`."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        return np.array(self._request.infer(feed)["logits"], dtype=np.float32)


def matrix_product(weights: NDArray[np.float32], threads: int) -> tuple[Callable[[NDArray[np.float32]], object], str]:
    """Return a function that multiplies rows with `weights` as an encoder's layers do, and the precision it takes."""
    rows = opset.parameter([-1, len(weights)], np.float32)
    graph = openvino.Model([opset.matmul(rows, opset.constant(weights), False, False)], [rows])
    compiled = openvino.Core().compile_model(graph, "CPU", _config(threads))
    request = compiled.create_infer_request()
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda values: request.infer([values]), f"openvino {precision}"


def _config(threads: int) -> dict[str, Any]:
    """Return the settings of a model with one stream.

    Pinned threads of several processes all sit on the first cores: two actors of one thread shared one core.
    """
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }


def _group_size(graph: openvino.Model) -> int:
    """Return how many neighbouring values of a token share a scale when activations are quantised, 0 for none.

    OpenVINO's own 32 is slower, and a group that does not divide the width of a product leaves that product in bf16.
    """
    products = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"]
    weights = [node.input_value(1) for node in products]
    widths = [
        port.get_partial_shape()[0].get_length()
        for port in weights
        if port.get_node().get_type_name() == "Multiply" and len(port.get_partial_shape()) == 2
    ]
    return math.gcd(LARGEST_GROUP, *widths) if widths else 0
