"""Keeps what was measured on this machine in the user's cache directory; a file that cannot be read is as if missing.

Each result has a file of its own, named by a hash of all that it depends on. So nothing in it becomes out of date, and
two processes never write different content under one name.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from sentiment_ray.atomic_files import write_file
from sentiment_ray.cpu_quota import count_usable_cpus
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.inference.hardware import list_gpus, read_processor
from sentiment_ray.manifest import fingerprint, format_json

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 16
"""A larger file is none that this module wrote."""


def find_cache_directory() -> Path:
    """Return the directory of this project in the user's cache directory; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sentiment-ray"


def describe_machine(*engines: str) -> dict[str, Any]:
    """Return what speed and bits depend on here: processor, threads, the engines' versions, GPUs if one needs them."""
    processor = read_processor()
    return {
        "processor": processor.name,
        "instruction_sets": processor.instruction_sets,
        "threads": count_usable_cpus(),
        "libraries": {name: ENGINES[name].installed_version() for name in engines},
        "gpus": list_gpus() if any(ENGINES[name].is_gpu for name in engines) else (),
    }


def read_cached(kind: str, depends_on: Any) -> dict[str, Any] | None:
    """Return the result of this kind that was cached for what it depends on, or None."""
    try:
        with _name_file(kind, depends_on).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        value = json.loads(data.decode("utf-8")) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    return value if isinstance(value, dict) else None


def write_cached(kind: str, depends_on: Any, result: dict[str, Any]) -> None:
    """Cache a result in one step. Where that is impossible it is measured again the next time."""
    try:
        path = _name_file(kind, depends_on)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, f"{format_json(result, indent=2)}\n".encode())
    except (OSError, RuntimeError) as error:
        logger.info("the result of this machine cannot be cached: %s", error)


def _name_file(kind: str, depends_on: Any) -> Path:
    return find_cache_directory() / kind / f"{fingerprint(depends_on)[:32]}.json"
