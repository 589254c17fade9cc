"""Runs an ONNX file with ONNX Runtime on CPU or GPU; the file is taken as bytes, so that it cannot name others."""

import hashlib
import os
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sentiment_ray.errors import MissingExtraError

CUDA: tuple[str, dict[str, Any]] = ("CUDAExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
PROVIDERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "onnxruntime": [("CPUExecutionProvider", {})],
    "cuda": [CUDA],
    "tensorrt": [
        ("TensorrtExecutionProvider", {"trt_engine_cache_enable": True, "trt_timing_cache_enable": True}),
        CUDA,
    ],
}
"""Providers by engine, the first one decisive; TensorRT hands what it cannot run to CUDA, and none to the CPU."""
GPU_LOCK = threading.Lock()
"""Stdout is the process's: two threads that lend it at once would not give it back."""


class OnnxRuntimeEngine:
    """An ONNX Runtime session; safe to call from one thread at a time."""

    def __init__(self, model: bytes, threads: int, name: str = "onnxruntime") -> None:
        self.name = name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between calls starve the other actors and requests of the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if name == "onnxruntime":
            self._session = onnxruntime.InferenceSession(model, options, providers=PROVIDERS[name])
        else:
            with GPU_LOCK, redirect_stdout(sys.stderr):  # where it finds no GPU, ONNX Runtime tells it on stdout
                _load_gpu_libraries(name)
                self._session = onnxruntime.InferenceSession(model, options, providers=_gpu_providers(name, model))
        self._session.disable_fallback()
        wanted, found = PROVIDERS[name][0][0], self._session.get_providers()
        if found[0] != wanted:
            raise MissingExtraError(
                f"engine = {name!r}: {wanted} cannot be used here (left: {', '.join(found)}). It needs an NVIDIA GPU, "
                "its driver, and the CUDA libraries that pip install 'onnxruntime-gpu[cuda,cudnn]' brings"
                f"{', and TensorRT' if name == 'tensorrt' else ''}."
            )
        self._inputs = {node.name for node in self._session.get_inputs()}

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.inference.engines.Engine`."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        if self.name == "onnxruntime":
            (logits,) = self._session.run(["logits"], feed)
        else:
            binding = self._session.io_binding()
            for name, values in feed.items():
                binding.bind_cpu_input(name, np.ascontiguousarray(values))
            binding.bind_output("logits")
            self._session.run_with_iobinding(binding)
            (logits,) = binding.copy_outputs_to_cpu()
        return np.asarray(logits, dtype=np.float32)


def _load_gpu_libraries(name: str) -> None:
    """Load the CUDA libraries that pip installed, if any, and refuse by name a package without the provider."""
    wanted = PROVIDERS[name][0][0]
    if wanted not in onnxruntime.get_available_providers():
        raise MissingExtraError(f"engine = {name!r}: this build of onnxruntime has no {wanted}.")
    onnxruntime.preload_dlls()


def _gpu_providers(name: str, model: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers of an engine on a GPU; TensorRT keeps what it compiles in the user's cache directory.

    Each model has a directory of its own there: ONNX Runtime's key leaves out the weights of a model that it is given
    as bytes (onnxruntime#6455).
    """
    if name != "tensorrt":
        return PROVIDERS[name]
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    cache = home / "sentiment-ray" / "tensorrt" / hashlib.sha256(model).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    (tensorrt, options), *others = PROVIDERS[name]
    return [(tensorrt, options | {"trt_engine_cache_path": str(cache), "trt_timing_cache_path": str(cache)}), *others]
