"""Token ids in, logits out: the interface that both engines meet; knows nothing of text or labels."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.errors import BundleError, MissingExtraError

ENGINES = ("openvino", "onnxruntime")


class Engine(Protocol):
    """A model in memory that turns token ids into logits."""

    name: str

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)` of int64 `input_ids` and `attention_mask`, both `(batch, length)`."""
        ...


def available_engines() -> list[str]:
    """Return the engines whose library is installed."""
    return [name for name in ENGINES if importlib.util.find_spec(name) is not None]


def load_engine(name: str, model: bytes, *, threads: int | None, source: str | Path) -> Engine:
    """Load an ONNX file's bytes into an engine that uses `threads` threads (None: every core this process may use).

    MissingExtraError for an engine that is not installed, BundleError, naming `source`, for a model it cannot read.
    """
    loaders: dict[str, Callable[[bytes, int], Engine]] = {"onnxruntime": _load_onnxruntime, "openvino": _load_openvino}
    if name not in available_engines():
        raise MissingExtraError(f"engine = {name!r} is not installed. Run: pip install 'sentiment-ray[cpu]'")
    count = threads or len(os.sched_getaffinity(0))
    try:
        return loaders[name](model, count)
    except ImportError:
        raise  # an installation that is broken, not a model
    except Exception as error:  # ONNX Runtime's errors have no class in common but this
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{source}: {name} cannot load this model ({reason}).") from error


def _load_onnxruntime(model: bytes, threads: int) -> Engine:
    from sentiment_ray.engines.ort import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, threads)


def _load_openvino(model: bytes, threads: int) -> Engine:
    from sentiment_ray.engines.vino import OpenVinoEngine

    return OpenVinoEngine(model, threads)
