"""Finds the bundle of a model id, and keeps the models that are asked in memory."""

from pathlib import Path

from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.database import Database


class LoadedModels:
    """The models in memory, each with a queue of its own."""

    def __init__(self, config: OpenAiApiConfig, database: Database, state: Path) -> None:
        self.config, self.database, self.state = config, database, state

    async def close(self) -> None:
        """Unload all models."""
