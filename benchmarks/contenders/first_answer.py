"""Prints the seconds that each part of a first answer takes in a new process; `cold_start.py` starts it."""

import argparse
import builtins
import functools
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any

BEGUN = time.clock_gettime(time.CLOCK_MONOTONIC)
PARTS = {
    "open_bundle": "read_and_hash",
    "pack": "read_and_hash",
    "parse_encoder": "tokenizer",
    "load_engine": "engine",
}
HEAVY = ("ray", "torch", "transformers", "pandas", "pyarrow", "optimum")


class Clock:
    """Counts seconds by part; time in a nested part counts for the inner part only."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = BEGUN

    def switch(self) -> None:
        """Add the time since the last switch to the running part."""
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.seconds[self._running[-1] if self._running else "rest"] += now - self._since
        self._since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with its time counted as `part`."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            self.switch()
            self._running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch()
                self._running.pop()

        return wrapper

    def time_functions(self, module: ModuleType | type, parts: dict[str, str]) -> None:
        """Time the functions of a module or class that `parts` names."""
        for name, part in parts.items():
            setattr(module, name, self.timed(part, getattr(module, name)))


def main() -> None:
    """Load, answer, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    started, clock = float(os.environ["STARTED_AT"]), Clock()
    clock.time_functions(builtins, {"__import__": "imports"})
    from sentiment_ray import Predictor
    from sentiment_ray.inference import predictor

    clock.time_functions(predictor, PARTS)
    clock.time_functions(Predictor, {"_run_self_test": "self_test"})
    loaded = Predictor.load(options.bundle, engine=options.engine, variant=options.variant, threads=options.threads)
    clock.timed("first_answer", loaded.predict)([options.text])
    clock.switch()
    seconds = {"total": sum(clock.seconds.values()) + BEGUN - started, "interpreter": BEGUN - started, **clock.seconds}
    result = {"seconds": seconds, "engine": loaded.engine, "variant": loaded.variant}
    heavy = [name for name in HEAVY if name in sys.modules]
    sys.stdout.write(json.dumps(result | {"heavy_modules": heavy}) + "\n")


if __name__ == "__main__":
    main()
