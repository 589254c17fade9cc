"""The HTTP application of one service, as an ASGI callable that also mounts in another application."""

from sentiment_ray.serve import operations
from sentiment_ray.serve.contracts import open_inference, text_embeddings_inference, vertex
from sentiment_ray.serve.documents import make_document_routes
from sentiment_ray.serve.guard import Guard
from sentiment_ray.serve.http import AsgiApp, Receive, Request, Response, Scope, Send
from sentiment_ray.serve.playground import page
from sentiment_ray.serve.routes import Route, Router, list_open_routes
from sentiment_ray.serve.scoring import check_room
from sentiment_ray.serve.service import Service

DESCRIBED = (
    *text_embeddings_inference.ROUTES,
    *vertex.ROUTES,
    *open_inference.ROUTES,
    *operations.ROUTES,
    *page.ROUTES,
)
ROUTES: tuple[Route, ...] = (*DESCRIBED, *make_document_routes(DESCRIBED))


def create_app(service: Service) -> AsgiApp:
    """Return the application, inside its guard.

    It can be mounted: `FastAPI().mount("/sentiment", create_app(service))`. Then `service` must be made and closed by
    the application around it.
    """
    router = Router(ROUTES)

    async def answer(request: Request) -> Response:
        route, request.path_values = router.find(request.method, request.path)
        request.route = route.path
        if route.scores:
            check_room(service)
        return await route.handle(request, service)

    guard = Guard(answer, service, open_routes=list_open_routes(ROUTES))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await guard(scope, receive, send)
        else:
            await _answer_other_protocol(scope, receive, send)

    return app


async def _answer_other_protocol(scope: Scope, receive: Receive, send: Send) -> None:
    """Take part in the start and the end of the server, and refuse WebSockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
