"""What the routes of one process share: the bundle that answers, the configuration, and the state of the service."""

from dataclasses import dataclass
from enum import Enum

from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.serve.config import ServeConfig


class State(Enum):
    """What a service does: it starts, it answers, or it answers what it has accepted and then ends."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass
class Service:
    """One service. A reload replaces `predictor`; a request reads it once, so it has one bundle from begin to end."""

    config: ServeConfig
    predictor: AsyncPredictor
    api_key: str | None = None
    state: State = State.STARTING

    def is_ready(self) -> bool:
        """Return whether a load balancer may send requests here."""
        return self.state is State.READY
