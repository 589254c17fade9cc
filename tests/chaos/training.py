"""A driver that trains the configuration in its argument, with workers that kill themselves at given points.

The orders are a JSON file with a list of [point, when, count]. A worker kills itself `before` or `after` the point, or
`within` the copying of a checkpoint, once the point was passed `count` times. It removes the order first.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.train import ray_trainer, trainer
from sentiment_ray.train.config import TrainConfig
from tests.chaos.saboteur import ORDER


def run_sabotaged_worker(train_loop_config: dict[str, Any]) -> None:
    """Run a worker that checks the orders at every point that an order can name."""
    from ray.train.v2._internal.execution.storage import StorageContext

    from sentiment_ray.train import loop, worker

    loop.update_weights = _watch("step", loop.update_weights)
    loop.seal_checkpoint = _watch("seal", loop.seal_checkpoint)
    loop._finish_epoch = _watch("epoch", loop._finish_epoch)
    StorageContext.persist_current_checkpoint = _watch("copy", StorageContext.persist_current_checkpoint)
    worker.train_loop_per_worker(train_loop_config["plan"])


def _watch(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        when = _take_order(name)
        if when == "within":
            storage, checkpoint, directory = arguments
            _copy_half(Path(checkpoint.path), Path(storage.build_checkpoint_path_from_name(directory)))
        if when in ("before", "within"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = operation(*arguments, **options)
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return watched


def _take_order(name: str) -> str | None:
    """Return when to kill if the first order is due at this point, and remove that order; else count it down."""
    file = Path(os.environ[ORDER])
    orders = json.loads(file.read_text())
    if not orders or orders[0][0] != name:
        return None
    (_, when, left), *others = orders
    file.write_text(json.dumps([[name, when, left - 1], *others] if left else others))
    return None if left else str(when)


def _copy_half(source: Path, target: Path) -> None:
    """Copy a checkpoint without the second half of its weights, as a crash during the copy leaves it."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = target / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def main() -> None:
    """Connect, train, and print the result as one JSON line."""
    address, config = json.loads(sys.argv[1])
    environment = {name: value for name, value in os.environ.items() if name.startswith(("CHAOS_", "PYTHONPATH"))}
    ray_trainer._run_worker = run_sabotaged_worker
    results, sys.stdout = sys.stdout, sys.stderr
    ray.init(address, runtime_env={"env_vars": environment}, log_to_driver=False, logging_level="ERROR")
    results.write(json.dumps(trainer.train_encoder(TrainConfig(**config))) + "\n")


if __name__ == "__main__":
    main()
