"""The OpenAPI document is true: every route is in it, and every answer of every route is as it says."""

import asyncio
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from sentiment_ray import Predictor
from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.serve.api_key import ApiKeys
from sentiment_ray.serve.app import ROUTES, create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.service import Service, State
from tests.serve.asgi import call_app
from tests.serve.failing import FailingPredictor

DOCUMENT = "/api-doc/openapi.json"
MODEL = "/v2/models/{model}"
VERSION = f"{MODEL}/versions/{{version}}"
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["tea", ["milk"]]}
LABEL_AS_BYTES = {"name": "label", "parameters": {"binary_data": True}}
VALUES = {"model": "sentiment", "version": "1"}
KEY = {"authorization": "Bearer sesame"}


@pytest.fixture
def service(golden: Predictor) -> Iterator[Service]:
    config = ServeConfig(bundle="unused", max_texts=20, max_body_bytes=50_000)
    predictor = AsyncPredictor(golden)
    yield Service(config, predictor, ApiKeys(["sesame"]), State.READY)
    predictor.close()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), headers=KEY, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get(DOCUMENT).json()
    return found


def _check(document: dict[str, Any], method: str, path: str, response: httpx.Response) -> None:
    """Compare an answer with what the document says of its route and status."""
    described = document["paths"][path][method.lower()]["responses"][str(response.status_code)]
    for name in described["headers"]:
        assert name in response.headers, name
    content = described.get("content")
    if content is None:
        assert response.content == b""
        return
    media_type = response.headers["content-type"].partition(";")[0]
    schema = content[media_type]["schema"]
    length = response.headers.get("inference-header-content-length")
    if media_type == "application/json":
        Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())
    elif length:
        refer = {"$ref": "#/components/schemas/InferResponse", "components": document["components"]}
        Draft202012Validator(refer).validate(httpx.Response(200, content=response.content[: int(length)]).json())


def _ask(client: TestClient, method: str, path: str, **given: Any) -> httpx.Response:
    response: httpx.Response = client.request(method, path.format(**VALUES), **given)
    return response


REQUESTS: list[tuple[str, str, Any]] = [
    *(
        ("POST", path, body)
        for path in ("/predict", "/", "/invocations")
        for body in (
            {"inputs": "tea"},
            {"inputs": ["tea", ["milk"]], "raw_scores": True, "truncate": None, "truncation_direction": "right"},
            {"inputs": "tea", "parameters": {"top_k": 1, "function_to_apply": "sigmoid"}},
        )
    ),
    ("POST", "/vertex", {"instances": [{"inputs": "tea"}, {"inputs": [["tea"]], "raw_scores": True}]}),
    *(("POST", f"{path}/infer", {"inputs": [TENSOR], "id": "7"}) for path in (MODEL, VERSION)),
    ("POST", f"{MODEL}/infer", {"inputs": [TENSOR], "parameters": {"binary_data_output": True}}),
    (
        "POST",
        f"{MODEL}/infer",
        {"inputs": [TENSOR], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]},
    ),
    ("GET", "/shadow/info", None),
    *(("GET", path, None) for path in ("/info", "/health", "/ping", "/", "/metrics", "/docs", DOCUMENT)),
    *(("GET", path, None) for path in ("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", MODEL, VERSION)),
    *(("GET", f"{path}/ready", None) for path in (MODEL, VERSION)),
]


def test_every_route_is_in_the_document(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    asked = {(method, path) for method, path, _ in REQUESTS}
    assert described - asked == {("POST", path) for path in ("/rerank", "/admin/reload", "/shadow/predict")}
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"'))) == set(schemas)


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_an_answer_is_as_the_document_says(
    client: TestClient, document: dict[str, Any], method: str, path: str, body: Any
) -> None:
    if body:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(body)
    response = _ask(client, method, path, json=body)
    assert response.status_code == 200
    _check(document, method, path, response)


ERRORS: list[tuple[int, str, str, dict[str, Any]]] = [
    (400, "POST", "/predict", {"json": {"inputs": " "}}),
    (400, "POST", f"{MODEL}/infer", {"content": b"{", "headers": {"content-type": "application/json"}}),
    (401, "POST", "/vertex", {"json": {}, "headers": {"authorization": "Bearer other"}}),
    (401, "GET", f"{VERSION}/ready", {"headers": {"authorization": "Bearer other"}}),
    (403, "POST", "/admin/reload", {}),
    (413, "POST", "/", {"json": {"inputs": "x" * 60_000}}),
    (413, "GET", "/v2", {"content": b"x" * 60_000}),
    (415, "POST", "/invocations", {"content": b"{}", "headers": {"content-type": "text/plain"}}),
    (415, "POST", f"{VERSION}/infer", {"content": b"{}", "headers": {"content-type": "text/plain"}}),
    (422, "POST", "/predict", {"json": {"inputs": ["tea"] * 21}}),
    (422, "POST", f"{MODEL}/infer", {"json": {"inputs": []}}),
    (404, "POST", "/shadow/predict", {"json": {"inputs": "tea"}}),
    (424, "POST", "/rerank", {"json": {"query": "tea", "texts": ["milk"]}}),
]


@pytest.mark.parametrize(("status", "method", "path", "given"), ERRORS)
def test_a_refusal_is_as_the_document_says(
    client: TestClient, document: dict[str, Any], status: int, method: str, path: str, given: dict[str, Any]
) -> None:
    response = _ask(client, method, path, **given)
    assert response.status_code == status
    _check(document, method, path, response)


@pytest.mark.parametrize("path", ["/predict", f"{MODEL}/infer"])
@pytest.mark.parametrize(
    ("error", "status"), [(QueueFullError("full"), 429), (TimeoutError(), 504), (RuntimeError(), 424)]
)
def test_a_failure_is_as_the_document_says(
    service: Service,
    client: TestClient,
    document: dict[str, Any],
    golden: Predictor,
    path: str,
    error: Any,
    status: int,
) -> None:
    service.predictor = FailingPredictor(golden)
    service.predictor.error = error
    response = _ask(client, "POST", path, json={"inputs": "tea" if path == "/predict" else [TENSOR]})
    assert response.status_code == status
    _check(document, "POST", path, response)


def test_an_unknown_model_is_as_the_document_says(client: TestClient, document: dict[str, Any]) -> None:
    for path in (MODEL, f"{MODEL}/ready", VERSION, f"{VERSION}/ready"):
        for values in ({"model": "other", "version": "1"}, {"model": "sentiment", "version": "2"}):
            if values["model"] == "other" or "version" in path:
                response = client.get(path.format(**values))
                assert response.status_code == 404
                _check(document, "GET", path, response)


def test_a_service_that_ends_is_not_ready_but_live(
    service: Service, client: TestClient, document: dict[str, Any]
) -> None:
    service.state = State.DRAINING
    for path in ("/health", "/ping", "/", "/v2/health/ready", f"{MODEL}/ready"):
        response = _ask(client, "GET", path)
        assert response.status_code == 503
        _check(document, "GET", path, response)
    assert client.get("/v2/health/live").status_code == 200


def test_a_bug_is_answered_as_the_document_says(
    service: Service, client: TestClient, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.predictor, "predictor", None)
    for path in ("/info", MODEL):
        response = _ask(client, "GET", path)
        assert response.status_code == 500
        _check(document, "GET", path, response)


def test_a_slow_body_is_answered_as_the_document_says(
    service: Service, client: TestClient, document: dict[str, Any]
) -> None:
    service.config = service.config.model_copy(update={"read_limit_s": 0.05})
    assert client.portal
    response = client.portal.call(_send_slowly, client.app)
    assert response.status_code == 408
    _check(document, "POST", "/predict", response)


async def _send_slowly(app: Any) -> httpx.Response:
    """Send the head of a request, and no body."""

    async def receive() -> Any:
        await asyncio.sleep(60)

    sent = await call_app(app, "/predict", receive, {"authorization": b"Bearer sesame"})
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])


def test_the_page_shows_every_route_and_loads_nothing(client: TestClient, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    text = unescape(re.sub("<[^>]+>", " ", page.text))
    assert all(f"{route.method} {route.path}" in text for route in ROUTES)
    assert all(name in text for name in document["components"]["schemas"])
    assert not re.search(r"<script|<link|<img|src=|href=\"(?!#)|url\(|@import", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_document_and_the_page_need_no_key_and_say_whether_there_is_one(service: Service) -> None:
    with TestClient(create_app(service)) as client:
        assert client.get("/docs").status_code == 200
        described = client.get(DOCUMENT).json()
    assert described["paths"]["/predict"]["post"]["security"] == [{"key": []}]
    assert "security" not in described["paths"]["/health"]["get"]
    service.api_keys = ApiKeys()
    with TestClient(create_app(service)) as client:
        assert "security" not in str(client.get(DOCUMENT).json())


def test_the_application_mounts_in_another_one(service: Service) -> None:
    outer = FastAPI()
    outer.mount("/sentiment", create_app(service))
    with TestClient(outer, headers=KEY) as client:
        assert len(client.post("/sentiment/predict", json={"inputs": "tea"}).json()) == 3
        assert client.get("/sentiment/v2/models/sentiment/ready").json()["ready"] is True
        assert client.get("/sentiment/v2/models/other").json().keys() == {"error"}
        assert client.get("/sentiment/health", headers={"authorization": ""}).status_code == 200
        assert client.get("/sentiment/info", headers={"authorization": ""}).status_code == 401
        assert "There is nothing at '/nowhere'" in client.get("/sentiment/nowhere").json()["error"]
        assert client.get(f"/sentiment{DOCUMENT}").json()["servers"] == [{"url": "/sentiment"}]
        assert client.get("/predict").status_code == 404
