"""One running service with an API key and one without, for all tests that ask over the network."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sentiment_ray import Predictor

BUNDLE = Path(__file__).parents[1] / "golden/bundle"
KEY = "open-sesame"
ENGINE = "onnxruntime"


@dataclass(frozen=True)
class RunningService:
    """The address of a service, and its key or None."""

    url: str
    key: str | None


@pytest.fixture(scope="session")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with _start(tmp_path_factory.mktemp("open-service")) as url:
        yield RunningService(url, None)


@pytest.fixture(scope="session")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("locked-service")
    (directory / "key.txt").write_text(f"{KEY}\n")
    with _start(directory, "--api-key-file", str(directory / "key.txt")) as url:
        yield RunningService(url, KEY)


@pytest.fixture(scope="module", params=["without a key", "with a key"])
def running(request: pytest.FixtureRequest) -> RunningService:
    """A service that asks for no key, then one that does."""
    name = "open_service" if request.param == "without a key" else "locked_service"
    service: RunningService = request.getfixturevalue(name)
    return service


@pytest.fixture(scope="session")
def golden() -> Predictor:
    """The Predictor that the services hold."""
    return Predictor.load(BUNDLE, engine=ENGINE, threads=1)


@contextmanager
def _start(directory: Path, *flags: str) -> Iterator[str]:
    """Run the service on a free port and yield its URL."""
    log = directory / "log.txt"
    command = [str(Path(sys.executable).parent / "sentiment-ray"), "serve", str(BUNDLE), "--port", "0"]
    settings = ["--engine", ENGINE, "--threads", "1", "--drain-pause-s", "0", *flags]
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, *settings], stderr=stream)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"serving bundle .* on (http://127\.0\.0\.1:\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)
