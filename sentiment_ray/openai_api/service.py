"""What the routes share: the configuration, the database, the state directory and the loaded models."""

from dataclasses import dataclass, field
from pathlib import Path

from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.loaded_models import LoadedModels


@dataclass
class Service:
    """One running service."""

    config: OpenAiApiConfig
    database: Database
    state: Path
    models: LoadedModels = field(init=False)

    def __post_init__(self) -> None:
        self.models = LoadedModels(self.config, self.database, self.state)
