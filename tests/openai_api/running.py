"""The service in a thread of the tests' process, on a free port of loopback, with a state directory of its own."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai

from sentiment_ray.http_server.address import bind
from sentiment_ray.openai_api.authentication import create_key
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.server import make_server, open_service, serve_on
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import File, Job

MODEL = "gpt-3.5-turbo"
databases: dict[str, Callable[[], str]] = {}
"""Under the key `postgres` a function that makes an empty database, if all services shall have one; see conftest.py."""


@cache
def choose_database(state: str) -> str | None:
    """The URL of the database of a state directory, the same when a service is started on it again; None for SQLite."""
    return databases["postgres"]() if databases else None


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer, which has the form of the API and an id."""
        assert set(self.json) == {"error"} and self.headers["x-request-id"]
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


@dataclass
class RunningService:
    """A service that answers, and the key of one project."""

    service: Service
    port: int
    key: str

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def make_key(self, project: str) -> str:
        """Return a new key of a project, which is made if it is new."""
        return create_key(self.service.database, project)

    def make_client(self, key: str | None = None) -> openai.OpenAI:
        """Return a client that refuses answers which are not as it expects, and sends nothing twice."""
        return openai.OpenAI(
            base_url=self.url, api_key=key or self.key, max_retries=0, timeout=60, _strict_response_validation=True
        )

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> Answer:
        """Send one request with a key; a body that is no bytes is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            given = {"authorization": f"Bearer {key or self.key}", **(headers or {})}
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body)
                given.setdefault("content-type", "application/json")
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()


@contextmanager
def run_service(state: Path, **keys: Any) -> Iterator[RunningService]:
    """Yield a service whose configuration has some keys, and end it as SIGTERM does."""
    defaults: dict[str, Any] = {
        "state": str(state),
        "port": 0,
        "models": {MODEL: str(state / "encoder")},
        "access_log": True,
    }
    if "database" not in keys:
        defaults["database"] = choose_database(str(state))
    config = OpenAiApiConfig(**defaults | keys)
    with bind(config.host, config.port) as listener, open_service(config) as service:
        assert not databases or service.database.engine.name == "postgresql"
        server = make_server(service)

        def serve() -> None:
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(serve_on(listener, service, server))

        listener.listen()  # a request may come before the thread does the same
        thread = threading.Thread(target=serve)
        port = listener.getsockname()[1]
        thread.start()
        try:
            yield RunningService(service, port, create_key(service.database, "default"))
        finally:
            server.drain(skip_pause=True)
            thread.join(timeout=30)
            assert not thread.is_alive()


def get_project_id(service: RunningService, file_id: str) -> str:
    with service.service.database.read_session() as session:
        file = session.get(File, file_id)
        assert file
        return file.project_id


def add_job(service: RunningService, project_id: str, file_id: str, **values: Any) -> Job:
    """Add the row of a job that learns from a file; nothing runs it."""
    job = Job(
        **{
            "id": make_id("ftjob-"),
            "project_id": project_id,
            "created_at": now_s(),
            "status": "failed",
            "model": MODEL,
            "training_file": file_id,
            "seed": 0,
            "hyperparameters": {},
            "details": {},
            **values,
        }
    )
    with service.service.database.session() as session:
        session.add(job)
    return job
