"""The classification contract of text-embeddings-inference 1.9.3.

Source: https://github.com/huggingface/text-embeddings-inference/tree/v1.9.3/router/src/http. One difference is on
purpose: a flat list of strings is a batch, not a pair of texts, because sentiment has no pairs.
"""

from collections.abc import Mapping
from typing import Any

from sentiment_ray.bundle.files import quote
from sentiment_ray.serve.contracts.inputs import rank_labels, read_flag, read_inputs
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.json_body import read_json_object
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.scoring import score_texts
from sentiment_ray.serve.service import Service


async def predict(request: Request, service: Service) -> Response:
    """Classify one text or several."""
    values = read_json_object(request.headers, request.body)
    inputs = read_inputs(values)
    _check_direction(values)
    raw_scores = read_flag(values, "raw_scores", default=False)
    truncate = read_flag(values, "truncate", default=True)
    scored = await score_texts(request, service, inputs.texts, truncate=truncate, name_text=inputs.name_text)
    values_by_label = scored.scores.logits if raw_scores else scored.scores.probabilities
    rankings = rank_labels(values_by_label, scored.labels)
    return make_json_response(rankings[0] if inputs.is_single else rankings, scored.headers)


def _check_direction(values: Mapping[str, Any]) -> None:
    direction = values.get("truncation_direction")
    if direction not in ("Right", "right", None):
        raise Refusal(
            422,
            f"truncation_direction is {quote(direction)}, which is not supported: texts are cut as the bundle says. "
            "Leave it out, or send 'Right'.",
        )


async def report_health(request: Request, service: Service) -> Response:
    """Answer 200 while the service answers requests, else 503."""
    if not service.is_ready():
        raise Refusal(503, f"The service is {service.state.value}.", "Unhealthy")
    return Response()


async def describe_model(request: Request, service: Service) -> Response:
    """Describe the bundle that answers, and the engine that computes."""
    predictor = service.predictor.predictor
    manifest = predictor.manifest
    info = {
        "bundle_id": manifest.bundle_id,
        "model_type": {"classifier": {"id2label": {str(i): label for i, label in enumerate(predictor.labels)}}},
        "max_input_length": manifest.max_tokens,
        "truncation": manifest.truncation.model_dump(),
        "steps": manifest.steps,
        "max_client_batch_size": service.config.max_texts,
        "engine": predictor.engine,
        "variant": predictor.variant,
    }
    return make_json_response(info)


ROUTES = (
    Route("POST", "/predict", predict),
    Route("GET", "/health", report_health),
    Route("GET", "/info", describe_model),
)
