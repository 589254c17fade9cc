"""Finds the bundle of a model id, and keeps the models that are asked in memory."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from sentiment_ray import log
from sentiment_ray.errors import QueueFullError, SentimentRayError
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.openai_api.answer import ScoresRow
from sentiment_ray.openai_api.api_error import NO_RETRY, ApiError, over_quota, unknown_model
from sentiment_ray.openai_api.base_models import BaseModels
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.model_answers import ModelAnswers, read_model_answers
from sentiment_ray.openai_api.tables import Model

CACHED_S = 1.0
"""How long the bundle of a model that was found is not looked up again; a deleted one may be asked for as long."""
MAX_CACHED_MODELS = 10_000


@dataclass(eq=False)
class LoadedModel:
    """A model in memory, and how many requests use it now."""

    predictor: AsyncPredictor
    answers: ModelAnswers
    num_users: int = 0

    async def score(self, text: str) -> ScoresRow:
        """Return the scores of a text. ApiError with 429 when it would wait for too long."""
        try:
            scores = (await self.predictor.score([text])).scores
        except QueueFullError:
            raise over_quota("The model is overloaded. Try again a little later.", retry_after_s=1) from None
        return ScoresRow(scores.probabilities[0].tolist(), int(scores.tokens[0]))


class LoadedModels:
    """The models in memory, each with a queue of its own; of too many, the one that was asked longest ago leaves."""

    def __init__(self, config: OpenAiApiConfig, database: Database, state: Path) -> None:
        self.config, self.database, self.state = config, database, state
        self.base_models = BaseModels(config, state)
        self._bundles: dict[tuple[str, str], tuple[Path, float]] = {}
        """The bundle of a project's model, and until when it holds."""
        self._loading: dict[Path, asyncio.Task[LoadedModel]] = {}
        self._loaded: OrderedDict[Path, LoadedModel] = OrderedDict()

    def list_base_ids(self) -> list[str]:
        """Return the ids of the models that may be fine-tuned."""
        return list(self.config.models)

    def find_bundle(self, project_id: str, model_id: str) -> Path:
        """Return the bundle of a model; it reads the database. ApiError when the project has no such model.

        The bundle of a base model may not be there yet: `base_models.is_ready` tells.
        """
        if model_id in self.config.models:
            return self.base_models.find_bundle(model_id)
        with self.database.read_session() as session:
            is_there = (Model.id == model_id, Model.project_id == project_id, Model.deleted_at.is_(None))
            bundle = session.scalar(select(Model.bundle).where(*is_there))
        if bundle is None:
            raise unknown_model(model_id)
        return self.state / bundle

    @asynccontextmanager
    async def use(self, project_id: str, model_id: str) -> AsyncIterator[LoadedModel]:
        """Yield a model, which is loaded if it is not in memory, and which stays there in the meantime.

        ApiError when the project has no such model, and when a base model is not ready for long.
        """
        path = await self._find_bundle(project_id, model_id)
        model = self._loaded.get(path)
        if model is None:
            model = await self._load_once(path, model_id)
        self._loaded[path] = model
        self._loaded.move_to_end(path)
        model.num_users += 1
        try:
            yield model
        finally:
            model.num_users -= 1
            await self._unload_unused()

    async def close(self) -> None:
        """Unload all models, and end what is exported."""
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        models = list(self._loaded.values())
        self._loaded.clear()
        for model in models:
            await asyncio.to_thread(model.predictor.close)
        await asyncio.to_thread(self.base_models.stop)

    async def _find_bundle(self, project_id: str, model_id: str) -> Path:
        if model_id in self.config.models:
            await self.base_models.wait_until_ready(model_id)
            return self.base_models.find_bundle(model_id)
        path, until_s = self._bundles.get((project_id, model_id), (None, 0.0))
        if path is None or until_s < time.monotonic():
            self._bundles.pop((project_id, model_id), None)
            path = await asyncio.to_thread(self.find_bundle, project_id, model_id)
            if len(self._bundles) >= MAX_CACHED_MODELS:
                self._bundles.clear()
            self._bundles[project_id, model_id] = path, time.monotonic() + CACHED_S
        return path

    async def _load_once(self, path: Path, model_id: str) -> LoadedModel:
        """Load a model; who asks in the meantime waits for the same load, which a client that leaves does not end."""
        task = self._loading.get(path)
        if task is None:
            task = self._loading[path] = asyncio.create_task(_load(path, model_id))
            task.add_done_callback(lambda _: self._loading.pop(path, None))
        model = await asyncio.shield(task)
        return self._loaded.setdefault(path, model)

    async def _unload_unused(self) -> None:
        for path, model in list(self._loaded.items()):
            if len(self._loaded) <= self.config.max_loaded_models:
                return
            if not model.num_users:
                del self._loaded[path]
                await asyncio.to_thread(model.predictor.close)


async def _load(path: Path, model_id: str) -> LoadedModel:
    if not path.is_dir():
        raise ApiError(404, f"The bundle of the model `{model_id}` is gone.", param="model", code="model_not_found")
    try:
        predictor = AsyncPredictor(await asyncio.to_thread(Predictor.load, path, optimize_for="throughput"))
    except SentimentRayError as error:
        log.notify(f"the model {model_id} cannot be loaded: {error}", level=logging.ERROR)
        message = "The model cannot be loaded; the log of the service says why."
        raise ApiError(500, message, error_type="server_error", headers=NO_RETRY) from None
    await predictor.warm_up()
    return LoadedModel(predictor, read_model_answers(model_id, predictor.predictor.manifest))
