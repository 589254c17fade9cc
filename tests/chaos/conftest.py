"""A cluster of two nodes, a corpus, and runs that are killed and started again until they are done."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.storage import open_store
from tests.chaos.saboteur import ORDER
from tests.conftest import ROOT

ROWS, UNITS = 12_000, 12
RUN_LIMIT_S = 120


@dataclass
class Cluster:
    """A Ray cluster of a head and a second node, one CPU each."""

    ray: Any
    directory: str
    second: Any = None

    @property
    def address(self) -> str:
        return str(self.ray.address)

    def add_node(self) -> None:
        if self.second is None:
            self.second = self.ray.add_node(num_cpus=1, object_store_memory=100_000_000)

    def kill_node(self) -> None:
        if self.second is not None:
            self.ray.remove_node(self.second, allow_graceful=False)
            self.second = None

    def stop(self) -> None:
        self.ray.shutdown()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_cluster(num_cpus: int = 1) -> Cluster:
    """Start a separate cluster that no other driver joins unless it is told the address."""
    from ray._common.utils import reset_ray_address
    from ray.cluster_utils import Cluster as RayCluster

    directory = tempfile.mkdtemp(prefix="chaos")
    arguments = {
        "num_cpus": num_cpus,
        "object_store_memory": 100_000_000,
        "include_dashboard": False,
        "temp_dir": directory,
    }
    cluster = RayCluster(initialize_head=True, head_node_args=arguments)
    reset_ray_address()  # Ray notes the cluster as `ray start` does, and every job of this machine would join it
    return Cluster(cluster, directory)


@pytest.fixture(scope="package")
def two_nodes(ray_cluster: None) -> Iterator[Cluster]:
    """A head and a second node, started after the cluster of the tests, which turns token authentication on."""
    cluster = start_cluster()
    cluster.add_node()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def chaos_corpus(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]]) -> Path:
    """Rows of distinct texts in several files and row groups, with duplicates and rows that cannot be scored."""
    directory = tmp_path_factory.mktemp("chaos") / "corpus"
    generator = random.Random(5)
    words = sorted({word for text, _ in everyday for word in text.split()})
    texts: list[str | None] = [" ".join(generator.choices(words, k=generator.randint(1, 24))) for _ in range(ROWS)]
    for row in generator.sample(range(ROWS), ROWS // 100):
        texts[row] = generator.choice([None, "", "  "])
    for number in range(3):
        part = texts[number * ROWS // 3 : (number + 1) * ROWS // 3]
        target = directory / f"year={2020 + number}/reviews.parquet"
        target.parent.mkdir(parents=True)
        table = pa.table({"id": [f"{number}-{row}" for row in range(len(part))], "body": part})
        parquet.write_table(table, target, row_group_size=ROWS // UNITS)
    (directory / "year=2020/broken.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    return directory


@dataclass
class Chaos:
    """Runs of one scoring configuration that are killed at random; `kills` lists the kills that happened."""

    cluster: Cluster
    config: dict[str, Any]
    work: Path
    generator: random.Random
    kills: list[str] = field(default_factory=list)

    def run_until_done(self, max_kills: int) -> dict[str, Any]:
        """Start the driver until it finishes, with one kill a start up to `max_kills`, and return its result."""
        for _ in range(4 * max_kills + 8):
            result = self._run(self._order() if len(self.kills) < max_kills else "none")
            if result is not None:
                return result
        raise AssertionError(f"not done after {self.kills}")

    def _order(self) -> str:
        return self.generator.choices(["step", "scorer", "driver", "node"], weights=[5, 2, 2, 1])[0]

    def _run(self, order: str) -> dict[str, Any] | None:
        file = self.work / "order"
        step = ""
        if order == "step":
            step = self.generator.choice(
                ["lock", "plan", "crash record", "part", "quarantine", "receipt", "group part", "bad files", "groups",
                 "report", "manifest", "success"]
            )  # fmt: skip
            file.write_text(json.dumps([step, self.generator.choice(["before", "after"])]))
        self.cluster.add_node()
        environment = os.environ | {"PYTHONPATH": str(ROOT), ORDER: str(file)}
        command = [sys.executable, "-m", "tests.chaos.driver", json.dumps([self.cluster.address, self.config])]
        driver = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if order in ("scorer", "driver", "node"):
            self._kill_at_random(order, driver)
        try:
            out, errors = driver.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            raise AssertionError(f"the run hangs after {self.kills}: {driver.communicate()[1][-2000:]}") from None
        if order == "step":
            if not file.exists():
                self.kills.append(f"step {step}")
            file.unlink(missing_ok=True)
        if driver.returncode == 0:
            return dict(json.loads(out))
        assert driver.returncode == -signal.SIGKILL, errors[-3000:]
        return None

    def _kill_at_random(self, target: str, driver: subprocess.Popen[str]) -> None:
        """Wait until a scorer has begun and a little longer, then kill."""
        deadline = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < deadline and not _scorers():
            time.sleep(0.05)
        time.sleep(self.generator.uniform(0, 4))
        if driver.poll() is not None:
            return
        if target == "node":
            self.cluster.kill_node()
        elif target == "driver":
            driver.kill()
        else:
            scorers = _scorers()
            if not scorers:
                return
            try:
                self.generator.choice(scorers).kill()
            except psutil.NoSuchProcess:
                return
        self.kills.append(target)


def _scorers() -> list[psutil.Process]:
    """Return the processes that score, sorted; Ray names them after the actor's class."""
    return own_processes(lambda command: command[0].startswith("ray::") and "Scorer" in " ".join(command))


def own_processes(is_wanted: Callable[[list[str]], bool]) -> list[psutil.Process]:
    """Return the processes below this one whose command line is wanted, by id; those of other test runs stay alive."""
    wanted = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if is_wanted(process.cmdline() or [""]):
                wanted.append(process)
    return sorted(wanted, key=lambda process: process.pid)


def contents(location: str) -> dict[str, bytes]:
    """Return the bytes of every part and quarantine file of an output by name."""
    store = open_store(location)
    excluded = ("_plan/", "_receipts/", "_report", "_MANIFEST", "_SUCCESS")
    return {name: store.read(name) for name in store.list() if not name.startswith(excluded)}


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
