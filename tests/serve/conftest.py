"""One running service with an API key and one without, for all tests that ask over the network."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sentiment_ray import Predictor
from tests.serve.doors import DOORS, Ask, Read
from tests.serve.running import GOLDEN, run

KEY = "open-sesame"


@dataclass(frozen=True)
class RunningService:
    """The address of a service, and its key or None."""

    url: str
    key: str | None


@pytest.fixture(scope="session")
def open_service() -> Iterator[RunningService]:
    with run(GOLDEN, "--threads", "1") as service:
        yield RunningService(f"http://127.0.0.1:{service.port}", None)


@pytest.fixture(scope="session")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    file = tmp_path_factory.mktemp("locked-service") / "key.txt"
    file.write_text(f"{KEY}\n")
    with run(GOLDEN, "--threads", "1", "--api-key-file", str(file)) as service:
        yield RunningService(f"http://127.0.0.1:{service.port}", KEY)


@pytest.fixture(scope="module", params=["without a key", "with a key"])
def running(request: pytest.FixtureRequest) -> RunningService:
    """A service that asks for no key, then one that does."""
    name = "open_service" if request.param == "without a key" else "locked_service"
    service: RunningService = request.getfixturevalue(name)
    return service


@pytest.fixture(scope="session")
def golden() -> Predictor:
    """The Predictor that the services hold."""
    return Predictor.load(GOLDEN, engine="onnxruntime", threads=1)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> tuple[Ask, Read]:
    """Each way to send texts to the service, and to read its answer."""
    return DOORS[request.param]
