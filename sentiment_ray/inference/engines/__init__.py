"""Token ids in, logits out: the interface that all engines meet; knows nothing of text or labels."""

import contextlib
import importlib
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.cpu_quota import count_usable_cpus
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import BundleError, MissingExtraError


class Engine(Protocol):
    """A model in memory that turns token ids into logits; several threads may call it at once."""

    name: str

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)` of int64 `input_ids` and `attention_mask`, both `(batch, length)`."""
        ...


def import_in_background(name: str) -> None:
    """Start to import an engine's library, which takes as long as reading and hashing a model does."""

    def import_library() -> None:
        with contextlib.suppress(Exception):  # load_engine raises it again
            importlib.import_module(ENGINES[name].module)

    threading.Thread(target=import_library, daemon=True).start()


def explain_unusable(name: str) -> str | None:
    """Return why an engine on a GPU cannot be used on this machine, and what to do, or None where it can be tried."""
    spec = ENGINES[name]
    if not spec.is_installed():
        return f"it needs {' or '.join(spec.packages)}. {spec.remedy}"
    try:
        reason: str | None = importlib.import_module(spec.module).explain_unusable(name)
    except ImportError as error:
        return f"{spec.library} cannot be imported ({error})."
    return reason


def load_engine(name: str, model: bytes, *, threads: int | None, num_streams: int = 1, source: str | Path) -> Engine:
    """Load the bytes of an ONNX file into an engine with `threads` threads, which `num_streams` batches at once share.

    By default there is one thread for each core, but no more than the CPU quota of the container allows.

    MissingExtraError for an engine that is not installed or finds no GPU. BundleError, which names `source`, for a
    model that the engine cannot read.
    """
    spec = ENGINES[name]
    if not spec.is_installed():
        raise MissingExtraError(f"engine = {name!r} needs {' or '.join(spec.packages)}. {spec.remedy}")
    num_threads = threads or count_usable_cpus()
    try:
        engine: Engine = importlib.import_module(spec.module).create_engine(name, model, num_threads, num_streams)
    except ImportError:
        raise  # the installation is broken or incomplete, not the model
    except Exception as error:  # ONNX Runtime's errors have no narrower class in common
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{source}: {name} cannot load this model ({reason}).") from error
    return engine
