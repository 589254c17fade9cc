"""Equal commands give equal weights in bf16, whatever else the machine computes at the same time."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.threads import use_threads
from tests.train.training import CheckpointStore, copy_rows, make_config, make_reader, make_task, make_worker

NUM_THREADS = 2


@pytest.fixture(scope="module")
def busy_processors() -> Iterator[None]:
    """As many other processes as processors, which compute all the time."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


PROGRAM = """
import ctypes, json, torch
from sentiment_ray.train.threads import use_threads

openmp = ctypes.CDLL(torch._C.__file__)
before = openmp.omp_get_dynamic()
use_threads(2)
print(json.dumps([before, openmp.omp_get_dynamic(), openmp.omp_get_max_threads(), torch.get_num_threads()]))
"""


def test_the_environment_does_not_change_the_number_of_threads() -> None:
    environment = os.environ | {"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1, 0, 2, 2]


def test_equal_trainings_end_with_equal_weights(
    busy_processors: None, prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    reviews = copy_rows(prepared, tmp_path / "reviews", 66)
    store = CheckpointStore(tmp_path)

    def train() -> None:
        use_threads(NUM_THREADS)
        config = make_config(tiny_encoder, precision="bf16", tokens_per_batch=1024)
        for _ in range(4):
            fine_tune(config, make_task(reviews), make_worker(make_reader(reviews), report=store.report), None)

    thread = Thread(target=train)  # Ray Train too trains in a thread of its own
    thread.start()
    thread.join()
    digests = [hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest() for path in store.paths]
    assert len(digests) == 8
    assert len(set(digests)) == 2  # those of two epochs
