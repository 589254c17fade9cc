"""The HTTP application around one Predictor: POST /predict, GET /health, GET /info; knows no files."""

import threading
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from sentiment_ray.inference.predictor import Predictor, Scores
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.contract import PredictRequest, Refusal, rank_labels, read_texts
from sentiment_ray.serve.guard import Guard
from sentiment_ray.text.truncation import describe_limit


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

    @app.post("/predict")
    async def predict(request: PredictRequest) -> Any:
        """Classify one text or several."""
        texts = read_texts(request.inputs, max_texts=config.max_texts)
        scores = await run_in_threadpool(score, texts)
        if not request.truncate and scores.truncated.any():
            limit = describe_limit(predictor.manifest.truncation, predictor.manifest.max_tokens)
            raise Refusal(413, f"A text has more than {limit} and truncate is false.", "Tokenizer")
        answers = rank_labels(scores, predictor.labels, raw_scores=request.raw_scores)
        return answers[0] if isinstance(request.inputs, str) else answers

    @app.get("/health")
    async def health() -> Response:
        """Answer 200 once the bundle is loaded."""
        return Response(status_code=200)

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

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        return Refusal(422, f"{key}: {first['msg']}", "Validation").response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        response = Refusal(error.status_code, str(error.detail), "Validation").response
        response.headers.update(error.headers or {})
        return response
