"""Runs an ONNX file with ONNX Runtime on the CPU; the file is taken as bytes, so that it cannot name others."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class OnnxRuntimeEngine:
    """An ONNX Runtime session; safe to call from one thread at a time."""

    name = "onnxruntime"

    def __init__(self, model: bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between calls starve the other actors and requests of the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name for node in self._session.get_inputs()}

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.engines.Engine`."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        (logits,) = self._session.run(["logits"], feed)
        return np.asarray(logits, dtype=np.float32)
