"""The HTTP application around one Predictor: POST /predict, GET /health, GET /info; knows no files."""

import threading
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from sentiment_ray.bundle.files import quote
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.contract import REQUEST_SCHEMA, Refusal, check_headers, rank_labels, read_request
from sentiment_ray.serve.guard import Guard
from sentiment_ray.text.truncation import describe_limit

BODY = {"required": True, "content": {"application/json": {"schema": REQUEST_SCHEMA}}}


def create_app(predictor: Predictor, config: ServeConfig, *, api_key: str | None) -> FastAPI:
    """Return the application; it holds the one Predictor, which computes for one request at a time."""
    app = FastAPI(title="sentiment-ray", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Guard, api_key=api_key, max_body_bytes=config.max_body_bytes)
    _add_routes(app, predictor, config)
    _add_error_handlers(app)
    return app


def _add_routes(app: FastAPI, predictor: Predictor, config: ServeConfig) -> None:
    lock = threading.Lock()

    def score(texts: list[str]) -> Scores:
        with lock:
            return predictor.score(texts)

    @app.post("/predict", openapi_extra={"requestBody": BODY})
    async def predict(request: Request) -> Any:
        """Classify one text or several."""
        check_headers(request.headers)
        wanted = read_request(await request.body(), max_texts=config.max_texts)
        scores = await run_in_threadpool(score, wanted.texts)
        if not wanted.truncate and scores.truncated.any():
            limit = describe_limit(predictor.manifest.truncation, predictor.manifest.max_tokens)
            raise Refusal(413, f"A text has more than {limit} and truncate is false.", "Tokenizer")
        answers = rank_labels(scores, predictor.labels, raw_scores=wanted.raw_scores)
        return answers[0] if wanted.is_single else answers

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Response:
        """Answer 200 once the bundle is loaded."""
        return Response(status_code=200)

    @app.head("/info", include_in_schema=False)
    @app.get("/info")
    async def info() -> dict[str, Any]:
        """Describe the bundle that answers, and the engine that computes."""
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


def _add_error_handlers(app: FastAPI) -> None:
    """Give every error the form of the contract."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return refusal.response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        method, path = request.method, quote(request.scope["path"])
        messages = {
            404: f"There is nothing at {path}. Known: POST /predict, GET /health, GET /info.",
            405: f"{path} takes no {method}, but {(error.headers or {}).get('Allow')}.",
        }
        message = messages.get(error.status_code, str(error.detail))
        return Refusal(error.status_code, message, headers=error.headers).response
