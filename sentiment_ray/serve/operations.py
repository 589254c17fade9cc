"""What the operator of a service asks for: its counts, and the bundle to be loaded again."""

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.operation import JSON, Operation, refer
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.service import Service


async def render_metrics(request: Request, service: Service) -> Response:
    """Return all counts in the format of Prometheus."""
    service.metrics.update(service.predictor)
    content, content_type = service.metrics.render(request.headers.get("accept", ""))
    return Response(200, content, {"content-type": content_type})


async def reload_bundle(request: Request, service: Service) -> Response:
    """Load the bundle of the configuration again; a failure leaves the old one in its place."""
    if service.reload is None:
        raise Refusal(
            501, "This service does not load its bundle itself. Start it again, or deploy it again.", "Backend"
        )
    try:
        bundle_id = await service.reload(tell_others=True)
    except SentimentRayError as error:
        raise Refusal(424, f"The old bundle still answers. {error}", "Backend") from None
    return make_json_response({"bundle_id": bundle_id})


TAG = "operation of the service"
METRICS = Operation("metrics", "All counts, for Prometheus.", TAG, {"text/plain": {"type": "string"}})
RELOAD = Operation(
    "reload",
    "Load the bundle again. Answers only on the machine of the service.",
    TAG,
    {JSON: refer("Reloaded")},
    statuses=(403, 424, 501),
)
ROUTES = (
    Route("GET", "/metrics", render_metrics, METRICS),
    Route("POST", "/admin/reload", reload_bundle, RELOAD),
)
