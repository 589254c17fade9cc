"""What the OpenAPI document says of one route; knows no handler."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

JSON = "application/json"
HTML = "text/html"
BYTES = "application/octet-stream"
BYTES_SCHEMA: Schema = {"type": "string", "format": "binary"}
SCORING_STATUSES = (400, 415, 422, 424, 429)
"""The errors of a route that scores texts."""


def refer(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True)
class Operation:
    """The description of one route; the route itself has the method and the path."""

    id: str
    summary: str
    tag: str
    answer: Mapping[str, Schema] = field(default_factory=dict)
    """The schemas of the body with status 200, by media type; none for an empty body."""
    request: Mapping[str, Schema] = field(default_factory=dict)
    """The schemas of the body of a request, by media type."""
    statuses: tuple[int, ...] = ()
    """Statuses of errors, besides those that every route may answer with."""
    scores: bool = False
    """Whether the route scores texts with the bundle that answers, and so has the errors of SCORING_STATUSES too."""
    has_timing_headers: bool = False
    always_fails: bool = False
    """Whether there is no answer with status 200."""
