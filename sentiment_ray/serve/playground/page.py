"""Sends the playground to browsers, and lets it ask the second bundle."""

from pathlib import Path
from typing import Any

from sentiment_ray.errors import BundleError
from sentiment_ray.http_server.browser_page.build import build_page
from sentiment_ray.serve.contracts.inputs import read_inputs
from sentiment_ray.serve.contracts.text_embeddings_inference import report_health
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.json_body import read_json_object
from sentiment_ray.serve.operation import HTML, JSON, Operation, refer
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.scoring import check_texts
from sentiment_ray.serve.service import Service


async def show_page(request: Request, service: Service) -> Response:
    """Return the playground to a client that takes HTML, and the health of the service to any other one."""
    if "text/html" not in request.headers.get("accept", ""):
        health = await report_health(request, service)
        health.headers |= {"content-type": "text/plain", "vary": "accept"}
        return health
    page, headers = build_page(Path(__file__).parent)
    return Response(200, page, dict(headers))


async def describe_second(request: Request, service: Service) -> Response:
    """Describe the second bundle; null when there is none."""
    shadow = service.shadow
    return make_json_response({"bundle_id": shadow.bundle_id, "labels": shadow.labels} if shadow else None)


async def predict_with_second(request: Request, service: Service) -> Response:
    """Classify texts with the second bundle; requests and answers are those of POST /predict with a list."""
    shadow = service.shadow
    if shadow is None:
        raise Refusal(404, "This service has no second bundle. --shadow BUNDLE names one.")
    inputs = read_inputs(read_json_object(request.headers, request.body))
    check_texts(inputs.texts, service.config.max_texts, inputs.name_text)
    try:
        rows = await shadow.score(inputs.texts)
    except BundleError as error:
        raise Refusal(424, str(error), "Backend") from None
    return make_json_response([_rank(row, shadow.labels) for row in rows])


def _rank(row: list[float], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    ranked = sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked]


TAG = "playground"
PAGE = Operation(
    "health_at_root",
    "Whether the service answers requests; for a browser the playground, as HTML.",
    TAG,
    {HTML: {"type": "string"}, "text/plain": {"type": "string", "maxLength": 0}},
)
SHADOW_INFO = Operation("shadow_info", "The second bundle; null when there is none.", TAG, {JSON: refer("ShadowInfo")})
SHADOW_PREDICT = Operation(
    "shadow_predict",
    "Classify texts with the second bundle.",
    TAG,
    {JSON: refer("Rankings")},
    {JSON: refer("PredictRequest")},
    statuses=(400, 404, 415, 422, 424),
)
ROUTES = (
    Route("GET", "/", show_page, PAGE, needs_key=False),
    Route("GET", "/shadow/info", describe_second, SHADOW_INFO),
    Route("POST", "/shadow/predict", predict_with_second, SHADOW_PREDICT),
)
