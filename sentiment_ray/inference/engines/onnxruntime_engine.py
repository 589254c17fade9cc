"""Runs an ONNX file with ONNX Runtime, on the CPU or a GPU; it gets bytes, so that the file cannot refer to others."""

import hashlib
import sys
import threading
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sentiment_ray.errors import MissingExtraError
from sentiment_ray.inference.hardware import list_gpus
from sentiment_ray.inference.machine_cache import find_cache_directory

CUDA: tuple[str, dict[str, Any]] = ("CUDAExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
PROVIDERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "onnxruntime": [("CPUExecutionProvider", {})],
    "cuda": [CUDA],
    "tensorrt": [
        ("TensorrtExecutionProvider", {"trt_engine_cache_enable": True, "trt_timing_cache_enable": True}),
        CUDA,
    ],
}
"""Execution providers by engine. The first one must load. CUDA runs what TensorRT cannot; neither uses the CPU."""
GPU_LOCK = threading.Lock()
"""Only one thread at a time may redirect stdout, which belongs to the whole process."""


class OnnxRuntimeEngine:
    """An ONNX Runtime session; several threads may call it at once."""

    def __init__(self, model: bytes, threads: int, name: str = "onnxruntime", num_streams: int = 1) -> None:
        self.name = name
        options = onnxruntime.SessionOptions()
        # A thread that calls the session computes too, beside one thread less than this.
        options.intra_op_num_threads = threads - num_streams + 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between calls take the processor from other actors and requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if name == "onnxruntime":
            self._session = onnxruntime.InferenceSession(model, options, providers=PROVIDERS[name])
        else:
            with GPU_LOCK, redirect_stdout(sys.stderr):  # without a GPU, ONNX Runtime prints to stdout
                _load_gpu_libraries(name)
                self._session = onnxruntime.InferenceSession(model, options, providers=_gpu_providers(name, model))
        self._session.disable_fallback()
        wanted, loaded = PROVIDERS[name][0][0], self._session.get_providers()
        if loaded[0] != wanted:
            raise MissingExtraError(
                f"engine = {name!r}: {wanted} cannot be used here (left: {', '.join(loaded)}). It needs an NVIDIA GPU, "
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


def create_engine(name: str, model: bytes, threads: int, num_streams: int) -> OnnxRuntimeEngine:
    """Return an engine for the bytes of an ONNX file, with the providers that `name` stands for."""
    return OnnxRuntimeEngine(model, threads, name, num_streams)


def describe_library() -> dict[str, Any]:
    """Return the execution providers of the installed build."""
    return {"providers": onnxruntime.get_available_providers()}


def explain_unusable(name: str) -> str | None:
    """Return why the first provider of an engine on a GPU cannot be used on this machine, or None."""
    if PROVIDERS[name][0][0] not in onnxruntime.get_available_providers():
        return _explain_missing_provider(name)
    if not list_gpus():
        return "there is no NVIDIA GPU that this process may use, or no driver for it."
    return None


def _explain_missing_provider(name: str) -> str:
    return f"this build of onnxruntime has no {PROVIDERS[name][0][0]}."


def _load_gpu_libraries(name: str) -> None:
    """Load the CUDA libraries that pip installed, if any; MissingExtraError when the build lacks the provider."""
    if PROVIDERS[name][0][0] not in onnxruntime.get_available_providers():
        raise MissingExtraError(f"engine = {name!r}: {_explain_missing_provider(name)}")
    onnxruntime.preload_dlls()


def _gpu_providers(name: str, model: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers of an engine on a GPU; TensorRT keeps compiled models in the user's cache directory.

    Each model has its own directory there, because ONNX Runtime's cache key ignores the weights of a model that comes
    as bytes (onnxruntime#6455).
    """
    if name != "tensorrt":
        return PROVIDERS[name]
    cache = find_cache_directory() / "tensorrt" / hashlib.sha256(model).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    (tensorrt, options), *others = PROVIDERS[name]
    return [(tensorrt, options | {"trt_engine_cache_path": str(cache), "trt_timing_cache_path": str(cache)}), *others]
