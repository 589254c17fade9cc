"""Starts a service on one core and asks it from another; what the measurements of services share."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import ROOT, Bench, Result
from pyarrow import parquet
from serve_contenders import OURS, Service

from sentiment_ray import Predictor
from sentiment_ray.errors import ConfigError

HERE = Path(__file__).parent
START_S = 120.0
"""How long a service may take to start."""
CHECKED_TEXTS = 100
NUM_TEXTS = 1000
TOKENS = range(20, 31)
"""Tokens of the texts that are asked about."""


def take_core() -> int:
    """Let this process, which makes the load, use the second core, and return the first, which is the service's.

    ConfigError where there is one core.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise ConfigError("The server and the load generator need a core each, and this process may use one.")
    os.sched_setaffinity(0, cores[1:2])
    return cores[0]


def read_texts(bench: Bench, samples: Path) -> tuple[list[str], list[str]]:
    """Return texts of about 25 tokens, and the labels that the fp32 file gives the first ones."""
    predictor = Predictor.load(bench.bundle, engine="onnxruntime", variant="fp32", threads=1)
    texts = parquet.read_table(samples / "sentences.parquet")["text"].to_pylist()[: 10 * NUM_TEXTS]
    lengths = [len(encoding.ids) for encoding in predictor.encoder.tokenizer.encode_batch_fast(texts)]
    kept = [text for text, length in zip(texts, lengths, strict=True) if length in TOKENS][:NUM_TEXTS]
    return kept, [prediction.label for prediction in predictor.predict(kept[:CHECKED_TEXTS])]


@contextlib.contextmanager
def started(bench: Bench, service: Service, names: dict[str, Any], core: int) -> Iterator[tuple[int, float]]:
    """Start a service on a core, and yield its port and the seconds until it answered; end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["taskset", "-c", str(core), *service.list_words(bench, names | {"port": port})]
    variables = os.environ | {
        "PYTHONPATH": str(ROOT) if service.environment == OURS.environment else "",
        "HF_HUB_OFFLINE": "1",
    }
    log = bench.workdir / "serving" / f"{service.name}.log"
    with log.open("w") as output, tempfile.TemporaryDirectory() as scratch:
        begun_s = time.perf_counter()
        process = subprocess.Popen(
            command, env=variables, cwd=scratch, stdout=output, stderr=output, start_new_session=True
        )
        try:
            while not answers(service, port):
                if process.poll() is not None or time.perf_counter() - begun_s > START_S:
                    raise ConfigError(f"{service.name} did not start; see {log}")
                time.sleep(0.01)
            yield port, round(time.perf_counter() - begun_s, 3)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(service: Service, port: int, text: str) -> Any:
    """Return the answer to one text."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{service.path}", service.encode(text), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def answers(service: Service, port: int) -> bool:
    """Return whether a service answers."""
    try:
        ask(service, port, "This is a cherry pie.")
    except (OSError, ValueError):
        return False
    return True


def run_wrk(service: Service, port: int, bodies: str, connections: str, seconds: float) -> Result:
    """Return what a closed loop gave: `bodies` is a file with the body of a request on each line."""
    url = f"http://127.0.0.1:{port}{service.path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(HERE / "closed_loop.lua"), url]
    done = subprocess.run([*command, "--", bodies], capture_output=True, text=True, check=True)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    answered = result["answers"] - result["refused"]
    return result | {"answers_per_s": round(answered / result["seconds"], 1)}
