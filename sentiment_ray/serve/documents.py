"""The routes that describe the service: its OpenAPI document, and a page made from it that needs no other server."""

from collections.abc import Iterable
from html import escape
from typing import Any

from sentiment_ray.manifest import format_json
from sentiment_ray.serve.http import Request, Response, make_json_response
from sentiment_ray.serve.openapi import make_document
from sentiment_ray.serve.operation import HTML, JSON, Operation
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.service import Service

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The page loads nothing, runs no script, and stands in no frame."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
h3 { font: 600 1rem/1.5 ui-monospace, monospace; margin: 2rem 0 0; overflow-wrap: anywhere; }
p { margin: 0.25rem 0; }
table { border-collapse: collapse; margin: 0.5rem 0; }
td { padding: 0.1rem 1rem 0.1rem 0; vertical-align: top; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
"""


def make_document_routes(described: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes that describe `described` and themselves."""
    tag = "description of the service"
    document_operation = Operation("openapi", "This document.", tag, {JSON: {"type": "object"}})
    page_operation = Operation("docs", "This document as a page.", tag, {HTML: {"type": "string"}})

    def make(request: Request, service: Service) -> dict[str, Any]:
        has_key = bool(service.api_keys)
        return make_document(
            (*described, *routes), max_texts=service.config.max_texts, has_key=has_key, root_path=request.root_path
        )

    async def show_document(request: Request, service: Service) -> Response:
        return make_json_response(make(request, service))

    async def show_page(request: Request, service: Service) -> Response:
        page = render_page(make(request, service))
        return Response(
            200, page.encode(), {"content-type": f"{HTML}; charset=utf-8", "content-security-policy": POLICY}
        )

    routes = (
        Route("GET", "/api-doc/openapi.json", show_document, document_operation, needs_key=False),
        Route("GET", "/docs", show_page, page_operation, needs_key=False),
    )
    return routes


def render_page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as a page of HTML."""
    parts = [f"<h1>{escape(document['info']['title'])}</h1>", f"<p>{escape(document['info']['description'])}</p>"]
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append(_render_operation(method, path, operation))
    for tag, operations in tags.items():
        parts += [f"<h2>{escape(tag)}</h2>", *operations]
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        text = escape(format_json(schema, indent=2))
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{text}</pre>')
    title = f"<title>{escape(document['info']['title'])}</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}<style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _render_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    request = operation.get("requestBody", {}).get("content", {})
    sent = f"<p>Body: {_render_content(request)}</p>" if request else ""
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td>"
        f"<td>{_render_content(answer.get('content', {}))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    heading = f"<h3>{escape(method.upper())} {escape(path)}</h3>"
    return f"{heading}<p>{escape(operation['summary'])}</p>{sent}<table>{rows}</table>"


def _render_content(content: dict[str, Any]) -> str:
    """Return the media types of a body, each with a link to its schema."""
    shown = []
    for media_type, described in content.items():
        name = described.get("schema", {}).get("$ref", "").rpartition("/")[2]
        link = f' <a href="#{escape(name)}">{escape(name)}</a>' if name else ""
        shown.append(f"<code>{escape(media_type)}</code>{link}")
    return " or ".join(shown)
