"""What the service counts, for Prometheus; no text, no key and no name that a client chose is in it."""

import os
from collections.abc import Callable, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.exposition import choose_encoder

from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.inference.batch_statistics import Statistics
from sentiment_ray.inference.drift import compute_chance_drift, compute_drift
from sentiment_ray.serve.traffic import Traffic

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Upper bounds of the buckets of times."""
MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with which prometheus_client adds up the counts of several processes, which share this directory."""


class Metrics:
    """The counts of one process, or with MULTIPROCESS_DIRECTORY the sum over all processes of the service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._traffic = Traffic()
        self._statistics: Statistics | None = None
        self._bundle: tuple[str, ...] = ()
        self._requests = self._count("requests", "Requests by route and status.", "route", "status")
        self._request_seconds = self._time("request_seconds", "Time from the head of a request to its answer.", "route")
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        """The counts of a route and a status, which are looked up for every request."""
        stage_seconds = self._time("stage_seconds", "Time of one stage of a call.", "stage")
        self._stages = [stage_seconds.labels(name) for name in ("tokenization", "queue", "inference")]
        self._labels = self._count("texts", "Scored texts by label.", "label")
        self._lengths = self._count("texts_by_length", "Scored texts by their number of tokens.", "tokens")
        self._truncated = self._count("truncated_texts", "Scored texts of which a part was not read.")
        self._batches = self._count("batches", "Batches by their number of rows, with empty rows.", "rows")
        self._failed = self._count("failed_batches", "Batches that the engine did not compute.")
        self._tokens = self._count("tokens", "Tokens that the engine computed, without padding.")
        self._padded_tokens = self._count("padded_tokens", "Tokens that the engine computed, with padding.")
        self._new_shapes = self._count("new_shapes", "Batches of a shape that was not computed before.")
        self._queued_tokens = self._measure("queued_tokens", "Tokens that wait for the engine.")
        self._queued_rows = self._measure("queued_rows", "Texts, or windows of texts, that wait for the engine.")
        self._stalled = self._measure("stalled_seconds", "Time since the engine moved although work waits.", mode="max")
        self._drift = self._measure("drift", "Population stability index against the bundle.", "measure", mode="max")
        self._chance = self._measure("drift_by_chance", "Index that chance explains.", "measure", mode="max")
        self._info = self._measure("bundle", "1 for the bundle that answers.", "bundle_id", "engine", "variant")
        self._reloads = self._count("reloads", "Reloads of the bundle by their result.", "result")
        self.shadow_texts = self._count("shadow_texts", "Texts that the second bundle scored.")
        self.shadow_flips = self._count("shadow_flips", "Texts to which the second bundle gave another label.")
        self.shadow_dropped = self._count("shadow_dropped", "Texts that the second bundle had no time for.")

    def note_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered; status 499 stands for a client that did not wait."""
        key = route, status
        counts = self._by_route.get(key)
        if counts is None:
            counts = self._by_route[key] = self._requests.labels(route, status), self._request_seconds.labels(route)
        count, times = counts
        count.inc()
        times.observe(seconds)

    def note_answer(self, texts: Sequence[str], answer: Answer, labels: tuple[str, ...]) -> None:
        """Count the texts of an answer, whose bundle has these labels, and the time of its stages."""
        timings = answer.timings
        tokenization, queue, inference = self._stages
        tokenization.observe(timings.tokenization_ms / 1000)
        queue.observe(timings.queue_ms / 1000)
        inference.observe(timings.inference_ms / 1000)
        self._traffic.add(texts, answer.scores, labels)

    def note_reload(self, *, succeeded: bool) -> None:
        """Count a reload."""
        self._reloads.labels("done" if succeeded else "failed").inc()

    def update(self, predictor: AsyncPredictor) -> None:
        """Bring up to date what is not counted request by request."""
        self._update_texts(predictor)
        self._update_batches(predictor.read_statistics())
        loaded = predictor.predictor
        bundle = (loaded.manifest.bundle_id, loaded.engine, loaded.variant)
        if bundle != self._bundle:
            if self._bundle:
                self._info.labels(*self._bundle).set(0)
            self._bundle = bundle
            self._info.labels(*bundle).set(1)

    def forget_bundle(self, predictor: AsyncPredictor) -> None:
        """Count the last of a predictor, before another one takes its place."""
        self.update(predictor)
        self._statistics = None
        self._traffic = Traffic()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all counts and their content type, in the format that a client accepts."""
        registry = self.registry
        if _is_multiprocess():
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, content_type = cast(tuple[Callable[[CollectorRegistry], bytes], str], choose_encoder(accept))
        return encode(registry), content_type

    def _update_texts(self, predictor: AsyncPredictor) -> None:
        loaded = predictor.predictor
        added = self._traffic.count_new()
        if added is None:
            return
        self._truncated.inc(added["truncated"])
        for label, count in added["labels"].items():
            self._labels.labels(label).inc(count)
        for name, count in added["tokens"].items():
            self._lengths.labels(name).inc(count)
        reference = loaded.manifest.reference
        if reference:
            recent = self._traffic.recent
            for measure, index in compute_drift(reference, recent).items():
                self._drift.labels(measure).set(index)
                self._chance.labels(measure).set(compute_chance_drift(reference, recent)[measure])

    def _update_batches(self, now: Statistics) -> None:
        before, self._statistics = self._statistics, now
        for rows, count in now.batches_by_rows.items():
            self._batches.labels(rows).inc(count - (before.batches_by_rows.get(rows, 0) if before else 0))
        for counter, total, total_before in (
            (self._failed, now.failed_batches, before.failed_batches if before else 0),
            (self._tokens, now.tokens, before.tokens if before else 0),
            (self._padded_tokens, now.padded_tokens, before.padded_tokens if before else 0),
            (self._new_shapes, now.new_shapes, before.new_shapes if before else 0),
        ):
            counter.inc(total - total_before)
        self._queued_tokens.set(now.waiting_tokens)
        self._queued_rows.set(now.waiting_rows)
        self._stalled.set(now.stalled_s)

    def _count(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sentiment_ray_{name}", text, labels, registry=self.registry)

    def _time(self, name: str, text: str, label: str) -> Histogram:
        return Histogram(f"sentiment_ray_{name}", text, [label], buckets=SECONDS, registry=self.registry)

    def _measure(self, name: str, text: str, *labels: str, mode: str = "sum") -> Gauge:
        kind: Any = f"live{mode}"
        return Gauge(f"sentiment_ray_{name}", text, labels, registry=self.registry, multiprocess_mode=kind)


def _is_multiprocess() -> bool:
    return MULTIPROCESS_DIRECTORY in os.environ
