"""Ends processes at named steps of the scoring protocol; installed in the driver and in every worker of a run.

An order is a file that holds a step and whether to strike before or after it; whoever takes the file strikes once.
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
    "_plan/attempts/": "attempts",
    "_receipts/": "receipt",
    "_quarantine/_files": "bad files",
    "_quarantine/": "quarantine",
    "_groups/parts/": "group part",
    "_groups/": "groups",
    "_report": "report",
    "_MANIFEST": "manifest",
    "_SUCCESS": "success",
}
"""What stands at a name, by how it begins; everything else is a part."""


def step_of(name: str) -> str:
    """Return the step of the protocol that writes a file."""
    return next((step for start, step in STEPS.items() if name.startswith(start)), "part")


def install() -> None:
    """Wrap everything that changes a store, and the scoring of texts when there is a poison."""
    from sentiment_ray.inference.predictor import Predictor
    from sentiment_ray.storage import Store

    if ORDER in os.environ:
        for method, place in (("write", 0), ("create", 0), ("place", 1)):
            setattr(Store, method, _sabotaged(getattr(Store, method), place))
    if POISON in os.environ:
        Predictor.score_in_batches = _poisonable(Predictor.score_in_batches)  # type: ignore[method-assign]


def _sabotaged(operation: Callable[..., Any], name_at: int) -> Callable[..., Any]:
    def sabotaged(store: Any, *arguments: Any) -> Any:
        step = step_of(arguments[name_at])
        _strike(step, "before")
        result = operation(store, *arguments)
        _strike(step, "after")
        return result

    return sabotaged


def _strike(step: str, when: str) -> None:
    order = Path(os.environ[ORDER])
    try:
        wanted = json.loads(order.read_text())
        if wanted == [step, when]:
            order.rename(order.with_name(f"taken-{os.getpid()}"))
            os.kill(os.getpid(), signal.SIGKILL)
    except (FileNotFoundError, ValueError):
        return


def _poisonable(score: Callable[..., Any]) -> Callable[..., Any]:
    def poisoned(self: Any, texts: Any, **options: Any) -> Any:
        if any(os.environ[POISON] in text for text in texts):
            os._exit(1)
        return score(self, texts, **options)

    return poisoned
