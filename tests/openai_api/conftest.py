"""One running service for all tests, and a client of the real package with a project of its own for each."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.openai_api import running
from tests.openai_api.fine_tuning import FineTuned, fine_tune
from tests.openai_api.postgres import run_postgres
from tests.openai_api.running import RunningService, run_service

ON_POSTGRES = "SENTIMENT_RAY_TESTS_ON_POSTGRES"
"""Environment variable that lets every service of the tests keep its state in PostgreSQL."""


@pytest.fixture(scope="session", autouse=True)
def use_postgres() -> Iterator[None]:
    """Give each service a database of its own on PostgreSQL, if the environment asks for it."""
    if ON_POSTGRES not in os.environ:
        yield
        return
    with run_postgres() as make_url:
        running.databases["postgres"] = make_url
        yield
        running.databases.clear()


@pytest.fixture(scope="session")
def state_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with run_service(tmp_path_factory.mktemp("openai-api") / "state", max_tokens=32) as service:
        yield service


@pytest.fixture(scope="session")
def fine_tuned(state_service: RunningService, tiny_encoder: Path) -> FineTuned:
    """A job with 66 examples that has succeeded, and a client of its project."""
    return fine_tune(state_service, tiny_encoder)


@pytest.fixture
def key(state_service: RunningService) -> str:
    """A key of a new project."""
    return state_service.make_key(f"project-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def client(state_service: RunningService, key: str) -> Iterator[openai.OpenAI]:
    """A client with the key of a new project."""
    with state_service.make_client(key) as client:
        yield client
