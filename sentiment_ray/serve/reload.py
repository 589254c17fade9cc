"""Loads the bundle of a running service again and swaps it, without a lost request."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.serve.api_key import read_api_keys
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.service import Service
from sentiment_ray.serve.shadow import Shadow

CLOSE_POLL_S = 0.05
BACKLOG_SHARE = 0.5
"""A request of many texts is refused when what waits already takes this share of its deadline."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def load_predictor(config: ServeConfig) -> AsyncPredictor:
    """Load and check the bundle of a configuration; see `Predictor.load` for the errors."""
    predictor = Predictor.load(
        config.bundle,
        engine=config.engine,
        variant=config.variant,
        threads=config.threads,
        optimize_for=config.optimize_for,
        require_signature=config.require_signature,
    )
    limits = QueueLimits(
        max_wait_s=config.max_wait_ms / 1000,
        max_backlog_s=config.deadline_s * BACKLOG_SHARE,
        max_tokens=config.max_waiting_tokens,
    )
    return AsyncPredictor(predictor, limits=limits)


class Reloader:
    """Reloads one service, one reload at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def reload(self, *, tell_others: bool = False) -> str:
        """Read the bundle, the keys and the second bundle again, and return the id of the bundle that answers now.

        Every file is checked and the self-test passes before anything is swapped. On an error the service goes on with
        what it has. Requests that have begun are answered by the bundle that they began with. A caller that is
        cancelled, as by the deadline of its request, does not end the reload. `tell_others` lets the other processes of
        the service reload too.
        """
        return await asyncio.shield(self._start(self._reload(tell_others)))

    async def _reload(self, tell_others: bool) -> str:
        service = self._service
        async with self._lock:
            shadow: Shadow | None = None
            try:
                api_keys = read_api_keys(service.config.api_key_file)
                if service.config.shadow is not None:
                    shadow = await Shadow.start(service.config, service.metrics)
                predictor = await asyncio.to_thread(load_predictor, service.config)
            except Exception as error:
                if shadow:
                    await shadow.close()
                service.metrics.note_reload(succeeded=False)
                if isinstance(error, SentimentRayError):
                    logger.warning("The bundle was not reloaded, and the old one still answers. %s", error)
                raise
            await predictor.warm_up()
            old, old_shadow = service.predictor, service.shadow
            service.metrics.forget_bundle(old)
            service.predictor, service.shadow, service.api_keys = predictor, shadow, api_keys
            service.metrics.note_reload(succeeded=True)
            if old_shadow:
                await old_shadow.close()
        self._start(self._close_after_last_call(old))
        if tell_others and service.after_reload:
            service.after_reload()
        return predictor.predictor.manifest.bundle_id

    async def _close_after_last_call(self, old: AsyncPredictor) -> None:
        while self._service.num_calls[old] > 0:
            await asyncio.sleep(CLOSE_POLL_S)
        del self._service.num_calls[old]
        old.close(wait_s=0)

    def _start(self, coroutine: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
