"""Spans for OpenTelemetry, where its packages are installed and its variables name a collector; otherwise nothing."""

import importlib.util
import os
import time
from collections.abc import Mapping
from typing import Any

from sentiment_ray import log

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables that name a collector (https://opentelemetry.io/docs/specs/otel/protocol/exporter/)."""
EXPORTER = "opentelemetry.exporter.otlp.proto.http"


class Tracing:
    """Sends one span for each request, in a thread. It continues the trace that the client's headers name."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME", "sentiment-ray")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer: Any = self._provider.get_tracer("sentiment_ray.serve")
        self._propagator = TraceContextTextMapPropagator()

    def record(self, headers: Mapping[str, str], *, method: str, route: str, status: int, seconds: float) -> None:
        """Record a request that has just ended."""
        from opentelemetry.trace import SpanKind, StatusCode

        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{method} {route}",
            context=self._propagator.extract(dict(headers)),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(seconds * 1e9),
            attributes={"http.request.method": method, "http.route": route, "http.response.status_code": status},
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(end_ns)

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()


def start_tracing() -> Tracing | None:
    """Return where spans go, or None when no variable names a collector."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        is_installed = importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:  # a package above it
        is_installed = False
    if not is_installed:
        log.notify("warning: a collector of OpenTelemetry is set. For spans run: pip install 'sentiment-ray[otel]'")
        return None
    return Tracing()
