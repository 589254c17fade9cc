"""A table of routes and the search in it; knows no contract."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from sentiment_ray.bundle.files import quote
from sentiment_ray.serve.http import Refusal, Request, Response
from sentiment_ray.serve.operation import Operation
from sentiment_ray.serve.service import Service

Handler = Callable[[Request, Service], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One method of one path. `{name}` in the path stands for one part of it, which the handler gets by this name."""

    method: str
    path: str
    handle: Handler
    operation: Operation | None = None
    """What the OpenAPI document says of it; a route without it is not in the document."""
    needs_key: bool = True
    """Whether a service with an API key asks for it."""

    @property
    def scores(self) -> bool:
        """Whether the route scores texts with the bundle that answers."""
        return self.operation is not None and self.operation.scores


class Router:
    """The routes of an application. A route of GET takes HEAD too."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._open: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_path.setdefault(route.path, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} has two routes")
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
        for path, methods in by_path.items():
            if "{" in path:
                self._open.append((re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))), methods))
            else:
                self._fixed[path] = methods

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the route of a path, and the values of its open parts.

        Refusal: 404 for an unknown path, 405 for a method that the path does not take.
        """
        values: Mapping[str, str] = {}
        methods = self._fixed.get(path)
        if methods is None:
            methods, values = self._find_open(path)
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            message = f"{quote(path)} takes no {quote(method)}, but {allowed}."
            raise Refusal(405, message, headers={"Allow": allowed})
        return route, values

    def _find_open(self, path: str) -> tuple[dict[str, Route], Mapping[str, str]]:
        for pattern, methods in self._open:
            if found := pattern.fullmatch(path):
                return methods, found.groupdict()
        known = [f"{method} {path}" for path, methods in self._fixed.items() for method in methods if method != "HEAD"]
        raise Refusal(404, f"There is nothing at {quote(path)}. Known: {', '.join(known)}.")


def list_open_routes(routes: Iterable[Route]) -> frozenset[tuple[str, str]]:
    """Return the methods and the paths that answer without the API key."""
    unlocked = [route for route in routes if not route.needs_key]
    return frozenset(
        (method, route.path)
        for route in unlocked
        for method in ((route.method, "HEAD") if route.method == "GET" else (route.method,))
    )
