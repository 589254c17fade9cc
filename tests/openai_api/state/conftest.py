"""The tests of this directory ask a service on SQLite and one on PostgreSQL."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.openai_api.postgres import run_postgres
from tests.openai_api.running import RunningService, run_service

DATABASES = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def make_postgres_url() -> Iterator[Callable[[], str]]:
    """Make an empty database on Debian's PostgreSQL, which runs for the tests, and return its URL."""
    with run_postgres() as make_url:
        yield make_url


@pytest.fixture(scope="session")
def postgres_service(
    tmp_path_factory: pytest.TempPathFactory, make_postgres_url: Callable[[], str]
) -> Iterator[RunningService]:
    state = tmp_path_factory.mktemp("openai-api-on-postgres") / "state"
    with run_service(state, database=make_postgres_url()) as running:
        yield running


@pytest.fixture(params=DATABASES)
def state_service(request: pytest.FixtureRequest, state_service: RunningService) -> RunningService:
    if request.param == "postgres":
        state_service = request.getfixturevalue("postgres_service")
    return state_service


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty database, as the configuration has it."""
    return None if request.param == "sqlite" else request.getfixturevalue("make_postgres_url")()


@pytest.fixture
def new_state(tmp_path: Path) -> Path:
    """The path of a state directory that is not there yet."""
    return tmp_path / f"state-{uuid.uuid4().hex[:8]}"
