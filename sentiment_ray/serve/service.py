"""What the routes of one process share: the bundle that answers, the configuration, and the state of the service."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.serve.api_key import ApiKeys
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.metrics import Metrics
from sentiment_ray.serve.shadow import Shadow
from sentiment_ray.serve.tracing import Tracing


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
    api_keys: ApiKeys = field(default_factory=ApiKeys)
    state: State = State.STARTING
    metrics: Metrics = field(default_factory=Metrics)
    shadow: Shadow | None = None
    """A second bundle that scores some of the texts, for comparison."""
    tracing: Tracing | None = None
    reload: Callable[..., Awaitable[str]] | None = None
    """Loads the bundle again and returns its id; None where the service was given a Predictor."""
    after_reload: Callable[[], None] | None = None
    """Lets the other processes of the service reload too."""
    num_calls: Counter[AsyncPredictor] = field(default_factory=Counter)
    """Calls that wait for the answer of each predictor; a replaced one is closed after its last call."""

    def is_ready(self) -> bool:
        """Return whether a load balancer may send requests here: it answers, and the engine moves."""
        stalled_s = self.predictor.read_statistics().stalled_s
        return self.state is State.READY and stalled_s < self.config.stall_limit_s

    @contextmanager
    def use_predictor(self) -> Iterator[AsyncPredictor]:
        """Yield the predictor of this moment, which is not closed in the meantime."""
        predictor = self.predictor
        self.num_calls[predictor] += 1
        try:
            yield predictor
        finally:
            self.num_calls[predictor] -= 1

    def note_answer(self, predictor: AsyncPredictor, texts: Sequence[str], answer: Answer) -> None:
        """Count an answer, and let the second bundle score some of its texts later."""
        labels = predictor.predictor.labels
        self.metrics.note_answer(texts, answer, labels)
        if self.shadow:
            self.shadow.offer(texts, answer.scores.label_ids, labels)
