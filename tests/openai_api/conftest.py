"""One running service for all tests, and a client of the real package with a project of its own for each."""

import uuid
from collections.abc import Iterator

import openai
import pytest

from tests.openai_api.running import RunningService, run_service


@pytest.fixture(scope="session")
def state_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with run_service(tmp_path_factory.mktemp("openai-api") / "state") as running:
        yield running


@pytest.fixture
def key(state_service: RunningService) -> str:
    """A key of a new project."""
    return state_service.make_key(f"project-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def client(state_service: RunningService, key: str) -> Iterator[openai.OpenAI]:
    """A client with the key of a new project."""
    with state_service.make_client(key) as client:
        yield client
