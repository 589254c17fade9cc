"""A driver of a training that can be killed, and what strikes its worker: trains what its one argument describes.

Orders are a file with, one after the other, a step of the training, whether to strike before or after it (or `within`,
for a checkpoint that is being copied), and how often the step comes first; who strikes takes the first order out.
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

from sentiment_ray.train import trainer
from sentiment_ray.train.config import TrainConfig
from tests.chaos.saboteur import ORDER


def sabotaged_entry(settings: dict[str, Any]) -> None:
    """The loop of a worker, with every step that an order may name watched."""
    from ray.train.v2._internal.execution.storage import StorageContext

    from sentiment_ray.train import loop, worker

    loop._take_step = _watched("step", loop._take_step)
    loop.seal_checkpoint = _watched("seal", loop.seal_checkpoint)
    loop._finish_epoch = _watched("epoch", loop._finish_epoch)
    StorageContext.persist_current_checkpoint = _watched("copy", StorageContext.persist_current_checkpoint)
    worker.train_loop_per_worker(settings)


def _watched(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        strikes = _order_for(name)
        if strikes == "within":
            storage, checkpoint, directory = arguments
            _copy_a_part(Path(checkpoint.path), Path(storage.build_checkpoint_path_from_name(directory)))
        if strikes in ("before", "within"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = operation(*arguments, **options)
        if strikes == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return watched


def _order_for(name: str) -> str | None:
    """Return when to strike, if this is the step that the first order names and it has come often enough."""
    file = Path(os.environ[ORDER])
    orders = json.loads(file.read_text())
    if not orders or orders[0][0] != name:
        return None
    (_, when, left), *others = orders
    file.write_text(json.dumps([[name, when, left - 1], *others] if left else others))
    return None if left else str(when)


def _copy_a_part(source: Path, target: Path) -> None:
    """Copy a checkpoint's files but for the second half of the weights, as a crash within the copy leaves them."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = target / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def main() -> None:
    """Connect and train; the result is one JSON line."""
    address, config = json.loads(sys.argv[1])
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("CHAOS_", "PYTHONPATH"))}
    trainer._worker_entry = sabotaged_entry
    results, sys.stdout = sys.stdout, sys.stderr
    ray.init(address, runtime_env={"env_vars": passed_on}, log_to_driver=False, logging_level="ERROR")
    results.write(json.dumps(trainer.train_encoder(TrainConfig(**config))) + "\n")


if __name__ == "__main__":
    main()
