"""Kills processes at named steps of the scoring protocol; installed in the driver and in every worker of a run.

An order is a file with a step, and `before` or `after`. The first process that reaches the step removes the file and
kills itself.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

ORDER = "CHAOS_ORDER"
POISON = "CHAOS_POISON"
STEPS = {
    "_plan/lock-": "lock",
    "_plan/plan.json": "plan",
    "_plan/attempts/": "crash record",
    "_plan/units-": "plan shard",
    "_receipts/units-": "receipt shard",
    "_receipts/": "receipt",
    "_quarantine/_files": "bad files",
    "_quarantine/": "quarantine",
    "_groups/parts/": "group part",
    "_groups/": "groups",
    "_report": "report",
    "_MANIFEST": "manifest",
    "_SUCCESS": "success",
}
"""Steps by the start of the file name that they write; every other file is a part."""


def find_step(name: str) -> str:
    """Return the step of the protocol that writes a file."""
    return next((step for start, step in STEPS.items() if name.startswith(start)), "part")


def install() -> None:
    """Wrap all methods that change a store, and the scoring of texts if there is a poison."""
    from sentiment_ray.inference.predictor import Predictor
    from sentiment_ray.storage import Store

    if ORDER in os.environ:
        for method, name_index in (("write", 0), ("write_version", 0), ("create", 0), ("move_in", 1)):
            setattr(Store, method, _sabotage(getattr(Store, method), name_index))
    if POISON in os.environ:
        Predictor.score = _poison(Predictor.score)  # type: ignore[method-assign]
        Predictor.score_in_batches = _poison(Predictor.score_in_batches)  # type: ignore[method-assign]


def _sabotage(operation: Callable[..., Any], name_index: int) -> Callable[..., Any]:
    def sabotaged(store: Any, *arguments: Any, **options: Any) -> Any:
        step = find_step(arguments[name_index])
        _kill_if_ordered(step, "before")
        result = operation(store, *arguments, **options)
        _kill_if_ordered(step, "after")
        return result

    return sabotaged


def _kill_if_ordered(step: str, when: str) -> None:
    order = Path(os.environ[ORDER])
    try:
        wanted = json.loads(order.read_text())
        if wanted == [step, when]:
            order.rename(order.with_name(f"taken-{os.getpid()}"))
            os.kill(os.getpid(), signal.SIGKILL)
    except (FileNotFoundError, ValueError):
        return


def _poison(score: Callable[..., Any]) -> Callable[..., Any]:
    def poisoned(self: Any, texts: Any, **options: Any) -> Any:
        if any(os.environ[POISON] in text for text in texts):
            os._exit(1)
        return score(self, texts, **options)

    return poisoned
