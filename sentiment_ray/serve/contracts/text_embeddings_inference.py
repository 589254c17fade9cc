"""The classification contract of text-embeddings-inference 1.9.3.

Source: https://github.com/huggingface/text-embeddings-inference/tree/v1.9.3/router/src/http. One difference is on
purpose: a flat list of strings is a batch, not a pair of texts, because sentiment has no pairs.
"""

from sentiment_ray import __version__
from sentiment_ray.engine_specs import get_batching
from sentiment_ray.serve.contracts import hugging_face
from sentiment_ray.serve.contracts.inputs import rank_labels, read_inputs
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.json_body import read_json_object
from sentiment_ray.serve.operation import JSON, Operation, refer
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.scoring import score_texts
from sentiment_ray.serve.service import Service

DTYPES = {"fp32": "float32", "fp16": "float16"}
"""How text-embeddings-inference calls the precision of a model; others are called as in the bundle."""


async def predict(request: Request, service: Service) -> Response:
    """Classify one text or several.

    A client of Hugging Face gets a list of answers also for one text; see `hugging_face`.
    """
    values = read_json_object(request.headers, request.body)
    inputs = read_inputs(values)
    parameters = None
    if hugging_face.is_hugging_face_request(values, request.headers):
        parameters = hugging_face.read_parameters(values)
    scored = await score_texts(request, service, inputs.texts, truncate=inputs.truncate, name_text=inputs.name_text)
    if parameters:
        return make_json_response(hugging_face.rank(scored, inputs, *parameters), scored.headers)
    rankings = rank_labels(scored, scored.scores.logits if inputs.raw_scores else scored.scores.probabilities)
    return make_json_response(rankings[0] if inputs.is_single else rankings, scored.headers)


async def rerank(request: Request, service: Service) -> Response:
    """Say that the model ranks no texts."""
    message = "The model is a classifier, which cannot rank texts. Send texts to POST /predict."
    raise Refusal(424, message, "Backend")


async def report_health(request: Request, service: Service) -> Response:
    """Answer 200 while the service answers requests, else 503."""
    if not service.is_ready():
        raise Refusal(503, f"The service is {service.state.value}.", "Unhealthy")
    return Response()


async def describe_model(request: Request, service: Service) -> Response:
    """Describe the bundle that answers, and the engine that computes."""
    config, predictor = service.config, service.predictor.predictor
    manifest = predictor.manifest
    precision = manifest.variants[predictor.variant].precision
    classifier = {
        "id2label": {str(index): label for index, label in enumerate(predictor.labels)},
        "label2id": {label: index for index, label in enumerate(predictor.labels)},
    }
    info = {
        "model_id": config.name,
        "model_sha": manifest.bundle_id,
        "model_dtype": DTYPES.get(precision, precision),
        "served_model_name": config.name,
        "model_type": {"classifier": classifier},
        "max_concurrent_requests": config.max_texts,
        "max_input_length": manifest.max_tokens,
        "max_batch_tokens": get_batching(predictor.engine).tokens_per_batch,
        "max_batch_requests": None,
        "max_client_batch_size": config.max_texts,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
        "sha": None,
        "docker_label": None,
        "bundle_id": manifest.bundle_id,
        "truncation": manifest.truncation.model_dump(),
        "steps": manifest.steps,
        "engine": predictor.engine,
        "variant": predictor.variant,
    }
    return make_json_response(info)


TAG = "text-embeddings-inference"


def _describe_predict(operation_id: str, summary: str) -> Operation:
    return Operation(
        operation_id,
        summary,
        TAG,
        answer={JSON: refer("PredictResponse")},
        request={JSON: refer("PredictRequest")},
        scores=True,
        has_timing_headers=True,
    )


def _describe_health(operation_id: str) -> Operation:
    return Operation(operation_id, "Whether the service answers requests.", TAG)


ROUTES = (
    Route("POST", "/predict", predict, _describe_predict("predict", "Classify one text or several.")),
    Route("POST", "/", predict, _describe_predict("predict_at_root", "The same as POST /predict.")),
    Route("POST", "/invocations", predict, _describe_predict("invocations", "The same for Amazon SageMaker.")),
    Route(
        "POST",
        "/rerank",
        rerank,
        Operation(
            "rerank",
            "Refused: the model ranks no texts.",
            TAG,
            request={JSON: refer("RerankRequest")},
            statuses=(424,),
            always_fails=True,
        ),
    ),
    Route("GET", "/info", describe_model, Operation("info", "The bundle that answers.", TAG, {JSON: refer("Info")})),
    Route("GET", "/health", report_health, _describe_health("health"), needs_key=False),
    Route("GET", "/ping", report_health, _describe_health("ping"), needs_key=False),
)
