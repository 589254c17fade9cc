"""Drivers, workers and nodes are killed during trainings; each run ends with the result of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentiment_ray.manifest import hash_file
from sentiment_ray.train.checkpoint import list_checkpoints
from tests.chaos.conftest import Cluster, own_processes
from tests.chaos.saboteur import ORDER
from tests.conftest import ROOT

RUN_LIMIT_S = 420
"""Time limit of one start of the driver, which may restart its workers five times."""
POINTS = (
    ("step", "after"), ("seal", "before"), ("seal", "after"), ("copy", "before"), ("copy", "within"),
    ("copy", "after"), ("epoch", "before"), ("epoch", "after"),
)  # fmt: skip


@dataclass
class Training:
    """One run that is killed at seeded points and times; `kills` lists the kills that took place."""

    cluster: Cluster
    config: dict[str, Any]
    work: Path
    generator: random.Random
    kills: list[str] = field(default_factory=list)

    def run_until_done(self, points: list[tuple[str, str]], targets: list[str]) -> dict[str, Any]:
        """Start the driver until the run is done.

        The worker is killed at `points`, and in each start one of `targets` is killed at a random time.
        """
        max_counts = {"step": 25, "seal": 1, "copy": 1, "epoch": 0}
        orders = [[point, when, self.generator.randint(0, max_counts[point])] for point, when in points]
        file, targets = self.work / "orders", list(targets)
        file.write_text(json.dumps(orders))
        for _ in range(len(targets) + 2):
            if self._run(file, targets.pop() if targets else None):
                left = len(json.loads(file.read_text()))
                self.kills += [f"{point} {when}" for point, when, _ in orders[: len(orders) - left]]
                return dict(json.loads((Path(self.config["output"]) / "run.json").read_text()))
        raise AssertionError(f"not done after {self.kills}")

    def start(self, orders: Path) -> subprocess.Popen[str]:
        """Start the driver on a cluster of two nodes."""
        self.cluster.add_node()
        command = [sys.executable, "-m", "tests.chaos.training", json.dumps([self.cluster.address, self.config])]
        environment = os.environ | {"PYTHONPATH": str(ROOT), ORDER: str(orders)}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def _run(self, orders: Path, target: str | None) -> bool:
        driver = self.start(orders)
        if target:
            self._kill_at_random(target, driver)
        return self.has_ended(driver)

    def has_ended(self, driver: subprocess.Popen[str]) -> bool:
        """Wait for the driver to end; return False when it was killed."""
        try:
            errors = driver.communicate(timeout=RUN_LIMIT_S)[1]
        except subprocess.TimeoutExpired:
            driver.kill()
            raise AssertionError(f"the run hangs after {self.kills}: {driver.communicate()[1][-2000:]}") from None
        assert driver.returncode in (0, -signal.SIGKILL), errors[-3000:]
        return driver.returncode == 0

    def _kill_at_random(self, target: str, driver: subprocess.Popen[str]) -> None:
        """Wait until a worker trains and up to 6 s more, then kill the target."""
        deadline = time.monotonic() + 90
        while driver.poll() is None and time.monotonic() < deadline and not _workers():
            time.sleep(0.1)
        time.sleep(self.generator.uniform(0, 6))
        workers = _workers()
        if driver.poll() is not None or not workers:
            return
        if target == "node":
            self.cluster.kill_node()
        elif target == "driver":
            driver.kill()
        else:
            self.generator.choice(workers).kill()
        self.kills.append(target)


def _workers() -> list[psutil.Process]:
    """Return the processes that train; Ray names them after the class of their actor."""
    return own_processes(lambda command: "RayTrainWorker" in command[0])


def _result(run: dict[str, Any], output: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the history without its times, and the hash of the best checkpoint's weights."""
    history = [
        {key: value for key, value in metrics.items() if key not in ("seconds", "tokens_per_s")}
        for metrics in run["history"]
    ]
    return history, hash_file(output / run["best"]["checkpoint"] / "model.safetensors")


@pytest.fixture(scope="module")
def config(prepared: Path, tiny_encoder: Path) -> dict[str, Any]:
    return {
        "prepared": str(prepared), "model": str(tiny_encoder), "epochs": 3, "learning_rate": 3e-3,
        "tokens_per_batch": 48, "max_tokens": 32, "dropout": 0.1, "num_workers": 1, "cpus_per_worker": 0.5,
        "checkpoint_every_s": 1e-6, "max_failures": 20, "precision": "fp32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("num_workers", "num_kills"),
    [(1, 2), pytest.param(1, 30, marks=pytest.mark.slow), pytest.param(2, 6, marks=pytest.mark.slow)],
)
def test_killed_trainings_end_with_the_result_of_an_undisturbed_one(
    two_nodes: Cluster, config: dict[str, Any], tmp_path: Path, num_workers: int, num_kills: int
) -> None:
    """One worker gives the same weights to the bit, two give the same metrics to a millionth."""
    config = config | {"num_workers": num_workers}
    undisturbed = config | {"output": str(tmp_path / "undisturbed"), "checkpoint_every_s": 1e6}
    run = Training(two_nodes, undisturbed, tmp_path, random.Random(0)).run_until_done([], [])
    history, weights = _result(run, tmp_path / "undisturbed")
    tolerance = 0 if num_workers == 1 else 1e-6
    generator, done = random.Random(num_kills), list[str]()
    while len(done) < num_kills:
        output = tmp_path / f"run-{len(done)}"
        training = Training(two_nodes, config | {"output": str(output)}, tmp_path, generator)
        many = num_kills > 2
        points = [("copy", "within"), *(generator.sample(POINTS, 3) if many else [])]
        targets = generator.sample(["driver", "worker", "node"], 2) if many else ["driver"]
        lines, weights_after_kills = _result(training.run_until_done(points, targets), output)
        assert len(lines) == len(history)
        for line, expected in zip(lines, history, strict=True):
            assert line.pop("precision") == "fp32"
            for name, value in expected.items():
                if name != "precision":
                    close = value if isinstance(value, str) else pytest.approx(value, rel=0, abs=tolerance)
                    assert line.pop(name) == close, (name, training.kills)
            assert not line
        assert num_workers > 1 or weights_after_kills == weights, training.kills
        assert training.kills, "nothing was killed"
        done += training.kills


@pytest.mark.slow  # Ray waits a minute for the lost node
def test_a_training_continues_with_the_remaining_workers_when_a_node_is_lost(
    two_nodes: Cluster, config: dict[str, Any], tmp_path: Path
) -> None:
    """A node is lost while two workers train; the other worker finishes the run and measures every row."""
    output, orders = tmp_path / "run", tmp_path / "orders"
    changes = {"num_workers": [1, 2], "cpus_per_worker": 1, "checkpoint_every_s": 1}
    config = config | changes | {"output": str(output)}
    orders.write_text("[]")
    training = Training(two_nodes, config, tmp_path, random.Random(0))
    driver = training.start(orders)
    _wait(driver, lambda: len(_workers()) == 2 and bool(list_checkpoints(output)))
    two_nodes.kill_node()
    _wait(driver, lambda: len(_workers()) == 1)
    assert training.has_ended(driver)
    run = json.loads((output / "run.json").read_text())
    counts = json.loads((Path(config["prepared"]) / "prepared.json").read_text())["counts"]
    assert [line["rows"] for line in run["history"]] == [counts["validation"]] * config["epochs"]


def _wait(driver: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not until():
        assert driver.poll() is None, driver.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"{len(_workers())} workers train"
        time.sleep(0.1)
