"""The HTTP application of one service, as an ASGI callable that also mounts in another application."""

import time

from sentiment_ray.bundle.files import quote
from sentiment_ray.serve import operations
from sentiment_ray.serve.contracts import open_inference, text_embeddings_inference, vertex
from sentiment_ray.serve.documents import make_document_routes
from sentiment_ray.serve.guard import Guard
from sentiment_ray.serve.http import (
    AsgiApp,
    Receive,
    Refusal,
    Request,
    Response,
    Scope,
    Send,
    get_route_path,
    make_error_response,
    read_headers,
)
from sentiment_ray.serve.playground import page
from sentiment_ray.serve.routes import Route, Router, list_open_routes
from sentiment_ray.serve.scoring import ClientGoneError, log_bug
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

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _answer_other_protocol(scope, receive, send)
            return
        try:
            response = await _answer(router, service, scope, receive)
        except ClientGoneError:
            return
        await response.send(send, with_body=scope["method"] != "HEAD")

    return Guard(app, service, open_routes=list_open_routes(ROUTES))


async def _answer(router: Router, service: Service, scope: Scope, receive: Receive) -> Response:
    """Return the answer to a request; every error has the form of its contract."""
    start_s = time.perf_counter()
    method, path = scope["method"], get_route_path(scope)
    try:
        route, path_values = router.find(method, path)
        scope["sentiment_ray.route"] = route.path
        body = await _read_body(receive)
        root_path = str(scope.get("root_path", ""))
        request = Request(method, path, read_headers(scope), body, receive, start_s, path_values, root_path)
        return await route.handle(request, service)
    except Refusal as refusal:
        return make_error_response(refusal, path)
    except ClientGoneError:
        raise
    except Exception as error:
        log_bug(error, f"{method} {quote(path)}")
        return make_error_response(Refusal(500, "The service failed. Its log says where.", "Backend"), path)


async def _read_body(receive: Receive) -> bytes:
    """Return the body, whose size the guard has checked."""
    message = await receive()
    pieces = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


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
