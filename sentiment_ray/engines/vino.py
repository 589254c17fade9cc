"""Runs an ONNX file with OpenVINO on the CPU, which uses bf16 by itself where the processor has AMX."""

import io

import numpy as np
import openvino
from numpy.typing import NDArray


class OpenVinoEngine:
    """A compiled OpenVINO model with one stream; safe to call from one thread at a time."""

    name = "openvino"

    def __init__(self, model: bytes, threads: int) -> None:
        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        # Pinned threads of several processes all sit on the first cores: two actors of one thread shared one core.
        config["ENABLE_CPU_PINNING"] = False
        self._compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", config)
        self._inputs = {name for port in self._compiled.inputs for name in port.names}
        self._request = self._compiled.create_infer_request()

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.engines.Engine`."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        return np.array(self._request.infer(feed)["logits"], dtype=np.float32)
