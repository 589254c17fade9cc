"""Token ids in, logits out: the interface that all engines meet; knows nothing of text or labels."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.errors import BundleError, MissingExtraError

ENGINES = ("openvino", "onnxruntime", "cuda", "tensorrt")
"""OpenVINO and ONNX Runtime on the CPU, and ONNX Runtime on a GPU with either of its providers."""
GPU_ENGINES = ("cuda", "tensorrt")


class Engine(Protocol):
    """A model in memory that turns token ids into logits."""

    name: str

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)` of int64 `input_ids` and `attention_mask`, both `(batch, length)`."""
        ...


def available_engines() -> list[str]:
    """Return the engines on the CPU whose library is installed."""
    names = (name for name in ENGINES if name not in GPU_ENGINES)
    return [name for name in names if importlib.util.find_spec(name) is not None]


def import_engine(name: str) -> None:
    """Import an engine's library in the background, where it takes as long as reading and hashing a model does."""

    def imported() -> None:
        with contextlib.suppress(Exception):  # whatever is wrong is told when the engine is loaded
            importlib.import_module(
                "sentiment_ray.inference.engines." + ("openvino_engine" if name == "openvino" else "onnxruntime_engine")
            )

    threading.Thread(target=imported, daemon=True).start()


def load_engine(name: str, model: bytes, *, threads: int | None, source: str | Path) -> Engine:
    """Load an ONNX file's bytes into an engine that uses `threads` threads (None: every core this process may use).

    MissingExtraError for an engine that is not installed or has no GPU here, BundleError, naming `source`, for a model
    it cannot read.
    """
    if name in GPU_ENGINES:
        _check_gpu_package(name)
    elif name not in available_engines():
        raise MissingExtraError(f"engine = {name!r} is not installed. Run: pip install 'sentiment-ray[cpu]'")
    count = threads or len(os.sched_getaffinity(0))
    try:
        return _load_openvino(model, count) if name == "openvino" else _load_onnxruntime(name, model, count)
    except ImportError:
        raise  # an installation that is broken or lacks something, not a model
    except Exception as error:  # ONNX Runtime's errors have no class in common but this
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{source}: {name} cannot load this model ({reason}).") from error


def _check_gpu_package(name: str) -> None:
    try:
        importlib.metadata.version("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(
            f"engine = {name!r} needs onnxruntime-gpu. Run: pip uninstall onnxruntime, then "
            "pip install 'sentiment-ray[gpu]': both own the same import name."
        ) from None


def _load_onnxruntime(name: str, model: bytes, threads: int) -> Engine:
    from sentiment_ray.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, threads, name)


def _load_openvino(model: bytes, threads: int) -> Engine:
    from sentiment_ray.inference.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(model, threads)
