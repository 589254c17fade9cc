"""Runs an ONNX file with OpenVINO on the CPU, which computes in bf16 where the processor can."""

import io
import math
import sys
from collections.abc import Callable
from typing import Any

# When openvino is imported, this package forks the process and reports the use to Google Analytics, without asking.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

MAX_GROUP_SIZE = 128
"""As fast as one group for a row of 384 values, and closer to the exact answer (benchmarks/results/scoring.jsonl)."""


class OpenVinoEngine:
    """A compiled OpenVINO model, which computes the batches of as many threads at once as it has streams.

    `precision` is "f32" or "bf16". None leaves it to OpenVINO, which takes bf16 where the processor has instructions
    for it. In bf16 a row's bits may depend on the other rows of its batch: on processors with AMX they do.
    """

    name = "openvino"

    def __init__(self, model: bytes, threads: int, num_streams: int = 1, *, precision: str | None = None) -> None:
        core = openvino.Core()
        config = _make_config(threads, num_streams)
        if precision:
            config["INFERENCE_PRECISION_HINT"] = precision
        graph = core.read_model(io.BytesIO(model))
        group = _group_size(graph)
        if group:
            config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
        self._compiled = core.compile_model(graph, "CPU", config)
        self._inputs = {name for port in self._compiled.inputs for name in port.names}
        self._idle_requests: list[Any] = []
        """One thread at a time may use a request; `pop` and `append` of a list need no lock."""

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.inference.engines.Engine`."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        try:
            request = self._idle_requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        logits = np.array(request.infer(feed)["logits"], dtype=np.float32)
        self._idle_requests.append(request)
        return logits


def create_engine(name: str, model: bytes, threads: int, num_streams: int) -> OpenVinoEngine:
    """Return an engine for the bytes of an ONNX file; there is one kind, so `name` is not needed."""
    return OpenVinoEngine(model, threads, num_streams)


def describe_library() -> dict[str, Any]:
    """Return the devices that OpenVINO finds, and the precisions that it has kernels for on the CPU."""
    core = openvino.Core()
    precisions = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {"devices": core.available_devices, "precisions": precisions}


def compile_product(weights: NDArray[np.float32], threads: int) -> tuple[Callable[[NDArray[np.float32]], object], str]:
    """Return a function that multiplies rows by `weights` as a layer of an encoder does, and the precision it uses."""
    rows = opset.parameter([-1, len(weights)], np.float32)
    graph = openvino.Model([opset.matmul(rows, opset.constant(weights), False, False)], [rows])
    compiled = openvino.Core().compile_model(graph, "CPU", _make_config(threads))
    request = compiled.create_infer_request()
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda values: request.infer([values]), f"openvino {precision}"


def _make_config(threads: int, num_streams: int = 1) -> dict[str, Any]:
    """Return OpenVINO's settings for a model whose streams share the threads.

    Threads are not pinned: every process pins to the first cores, so two actors with one thread each share one core.
    """
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": num_streams,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }


def _group_size(graph: openvino.Model) -> int:
    """Return how many neighbouring activations share a scale where weights are int8, or 0 where none are.

    OpenVINO's default of 32 is slower. A product whose width the group size does not divide stays in bf16, so the size
    divides the widths of all products.
    """
    products = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"]
    weights = [node.input_value(1) for node in products]
    int8_widths = [
        port.get_partial_shape()[0].get_length()
        for port in weights
        if port.get_node().get_type_name() == "Multiply" and len(port.get_partial_shape()) == 2
    ]
    return math.gcd(MAX_GROUP_SIZE, *int8_widths) if int8_widths else 0
