"""A bundle behind HTTP, in text-embeddings-inference's classification contract; knows one Predictor and no files.

`POST /predict` takes `{"inputs": …}`: one string gives a flat list of {label, score}, best first; `[["a"], ["b"]]` and
`["a", "b"]` give a list of lists (a flat list is a batch here, for sentiment has no text pairs).
"""

import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sentiment_ray.inference.predictor import Predictor, Scores
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.text.truncation import limit_in_words

Answer = list[dict[str, str | float]]


class PredictRequest(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str | list[str] | list[list[str]]
    """One text, texts, or one-element lists of texts."""
    raw_scores: bool = False
    """Return logits instead of probabilities."""
    truncate: bool = True
    """Cut texts as the bundle says; if false, one of which a part would not be read is answered with 413."""


class Refusal(Exception):
    """A request that is answered with an error of the contract: a status, a text and a type."""

    def __init__(self, status: int, message: str, error_type: str) -> None:
        super().__init__(message)
        self.response = JSONResponse({"error": message, "error_type": error_type}, status_code=status)


def create_app(predictor: Predictor, config: ServeConfig, *, api_key: str | None) -> FastAPI:
    """Return the application; it holds the one Predictor and answers one request at a time with it."""
    app = FastAPI(title="sentiment-ray", docs_url=None, redoc_url=None)
    lock = threading.Lock()

    def score(texts: list[str]) -> Scores:
        with lock:
            return predictor.score(texts)

    @app.post("/predict")
    async def predict(request: PredictRequest) -> Any:
        """Classify one text or several."""
        texts = _texts(request.inputs, config.max_texts)
        scores = await run_in_threadpool(score, texts)
        if not request.truncate and scores.truncated.any():
            limit = limit_in_words(predictor.manifest.truncation, predictor.manifest.max_tokens)
            raise Refusal(413, f"A text has more than {limit} and truncate is false.", "Tokenizer")
        answers = answers_of(scores, predictor.labels, raw_scores=request.raw_scores)
        return answers[0] if isinstance(request.inputs, str) else answers

    @app.get("/health")
    async def health() -> Response:
        """Answer 200 once the bundle is loaded."""
        return Response(status_code=200)

    @app.get("/info")
    async def info() -> dict[str, Any]:
        """Say which bundle answers, and how."""
        manifest = predictor.manifest
        return {
            "bundle_id": manifest.bundle_id,
            "model_type": {"classifier": {"id2label": dict(enumerate(predictor.labels))}},
            "max_input_length": manifest.max_tokens,
            "truncation": manifest.truncation.model_dump(),
            "steps": manifest.steps,
            "max_client_batch_size": config.max_texts,
            "engine": predictor.engine,
            "variant": predictor.variant,
        }

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, config, api_key) or await _oversized(request, config.max_body_bytes)
        return refusal or await call_next(request)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return refusal.response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return Refusal(422, f"{place}: {first['msg']}", "Validation").response

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        response = Refusal(error.status_code, str(error.detail), "Validation").response
        response.headers.update(error.headers or {})
        return response

    return app


def answers_of(scores: Scores, labels: tuple[str, ...], *, raw_scores: bool) -> list[Answer]:
    """Return for each text every label with its probability (or logit), the likeliest first."""
    values = scores.logits if raw_scores else scores.probabilities
    return [
        [{"label": labels[index], "score": float(row[index])} for index in (-row).argsort(kind="stable")]
        for row in values
    ]


def _texts(inputs: str | list[str] | list[list[str]], max_texts: int) -> list[str]:
    items = [inputs] if isinstance(inputs, str) else inputs
    if not items:
        raise Refusal(422, "inputs is empty: send one text or more.", "Empty")
    if len(items) > max_texts:
        raise Refusal(422, f"inputs holds {len(items)} texts, at most {max_texts} are taken at a time.", "Validation")
    if any(isinstance(item, list) and len(item) != 1 for item in items):
        raise Refusal(422, "A list inside inputs holds exactly one text: sentiment has no text pairs.", "Validation")
    return [item[0] if isinstance(item, list) else item for item in items]


def _refusal(request: Request, config: ServeConfig, api_key: str | None) -> Response | None:
    if api_key and request.url.path != "/health":
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
            return Refusal(
                401, "The API key is missing or wrong: send Authorization: Bearer KEY.", "Unauthorized"
            ).response
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > config.max_body_bytes:
        return _too_large(config.max_body_bytes)
    return None


async def _oversized(request: Request, max_body_bytes: int) -> Response | None:
    """Read the body no further than its bound, whatever length was declared."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_body_bytes:
                return _too_large(max_body_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it
    request._body = b"".join(chunks)  # what Request.body() would have kept
    return None


def _too_large(max_body_bytes: int) -> Response:
    return Refusal(413, f"The body is larger than {max_body_bytes} bytes.", "Validation").response
