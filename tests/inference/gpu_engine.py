"""An engine on a GPU that tests pretend to have: ONNX Runtime on the CPU, and a list of the shapes that it computed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import CUDA_BATCHING, EngineSpec
from sentiment_ray.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

NAME = "pretended"
SPEC = EngineSpec(
    NAME,
    __name__,
    "onnxruntime",
    ("onnxruntime",),
    "Run: pip install it",
    cpu_engine="onnxruntime",
    batching=CUDA_BATCHING,
)


class PretendedGpuEngine:
    """Computes as ONNX Runtime does, and keeps the shape of each batch."""

    name = NAME

    def __init__(self, model: bytes, threads: int) -> None:
        self._engine = OnnxRuntimeEngine(model, threads)
        self.shapes: list[tuple[int, ...]] = []

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.shapes.append(input_ids.shape)
        return self._engine.logits(input_ids, attention_mask)


def create_engine(name: str, model: bytes, threads: int, num_streams: int) -> PretendedGpuEngine:
    return PretendedGpuEngine(model, threads)


def describe_library() -> dict[str, Any]:
    return {"devices": ["pretended"]}


def explain_unusable(name: str) -> str | None:
    return None
