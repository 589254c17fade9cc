"""The one way from the texts of a request to their scores: every contract counts, limits and fails alike here."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import QueueFullError, TextTooLongError
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.log import log_bug
from sentiment_ray.serve.http import Refusal, Request
from sentiment_ray.serve.service import Service
from sentiment_ray.text.truncation import describe_limit

NameText = Callable[[int], str]
"""Returns what a client calls the text with this index, such as `inputs[3]`."""

MAX_TEXTS_NAMED = 10
WATCHED_AFTER_S = 0.1
"""From then on a request ends when its client leaves. Most are answered sooner, and need no task that watches."""
RETRY_AFTER_S = 1
"""How long a client is asked to wait when the queue is full."""


class ClientGoneError(Exception):
    """The client has closed the connection, so nobody reads the answer."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of the texts of a request, the labels of the bundle that gave them, and headers of the answer."""

    scores: Scores
    labels: tuple[str, ...]
    headers: dict[str, str]


async def score_texts(
    request: Request, service: Service, texts: Sequence[str], *, truncate: bool, name_text: NameText
) -> Scored:
    """Score the texts of a request with the bundle that the service has now.

    Refusal: 400 for no text or a blank one, 422 for too many texts or one that is too long, 424 when the model fails,
    429 when the queue is full, 504 when the deadline has passed. ClientGoneError when the client does not wait for it.
    """
    check_texts(texts, service.config.max_texts, name_text)
    try:
        with service.use_predictor() as predictor:
            answer = await _await_while_connected(request, predictor.score(texts, truncate=truncate))
    except TextTooLongError as error:
        raise Refusal(422, _describe_too_long(predictor, name_text(error.index)), "Tokenizer") from None
    except QueueFullError as error:
        raise _refuse_overload(error) from None
    except TimeoutError:
        raise Refusal(
            504, "The deadline of the request has passed. Send fewer texts, or try again.", "Timeout"
        ) from None
    except (ClientGoneError, asyncio.CancelledError):
        raise
    except Exception as error:
        log_bug(error, "the model")
        raise Refusal(424, "The model failed. The log of the service says why.", "Backend") from None
    if not np.isfinite(answer.scores.logits).all():
        raise Refusal(424, "The model gave a score that is no number.", "Backend")
    # counted when the answer has been sent: no client waits for that
    asyncio.get_running_loop().call_soon(service.note_answer, predictor, texts, answer)
    headers = _make_headers(request, texts, answer, predictor.predictor.engine)
    return Scored(answer.scores, predictor.predictor.labels, headers)


def check_room(service: Service) -> None:
    """Refuse with 429 when even one short text would wait for too long; nothing of a request has been parsed yet."""
    try:
        service.predictor.check_room()
    except QueueFullError as error:
        raise _refuse_overload(error) from None


def _refuse_overload(error: QueueFullError) -> Refusal:
    return Refusal(429, str(error), "Overloaded", headers={"Retry-After": str(RETRY_AFTER_S)})


def _make_headers(request: Request, texts: Sequence[str], answer: Answer, engine: str) -> dict[str, str]:
    """Return the headers of text-embeddings-inference about one answer: times in whole ms, characters and tokens."""
    timings = answer.timings
    total_ms = str(int(1000 * (time.perf_counter() - request.start_s)))
    return {
        "x-compute-type": f"{'gpu' if ENGINES[engine].is_gpu else 'cpu'}+{engine}",
        "x-compute-time": total_ms,
        "x-compute-characters": str(sum(map(len, texts))),
        "x-compute-tokens": str(int(answer.scores.tokens.sum())),
        "x-total-time": total_ms,
        "x-tokenization-time": str(int(timings.tokenization_ms)),
        "x-queue-time": str(int(timings.queue_ms)),
        "x-inference-time": str(int(timings.inference_ms)),
    }


def check_texts(texts: Sequence[str], max_texts: int, name_text: NameText) -> None:
    """Refuse with 400 no text or a blank one, and with 422 more than `max_texts`."""
    if not texts:
        raise Refusal(400, "There is no text. Send one or more.", "Empty")
    if len(texts) > max_texts:
        raise Refusal(422, f"The request holds {len(texts)} texts; at most {max_texts} may be sent at once.")
    blank = [index for index, text in enumerate(texts) if is_blank(text)]
    if blank:
        more = f" and {len(blank) - MAX_TEXTS_NAMED} more" if len(blank) > MAX_TEXTS_NAMED else ""
        named = ", ".join(map(name_text, blank[:MAX_TEXTS_NAMED])) + more
        raise Refusal(400, f"No text in {named}: only spaces, or nothing.", "Empty")


def is_blank(text: str) -> bool:
    """Return whether a text is empty or only white space, which the jobs put aside too."""
    return not text or text.isspace()


def _describe_too_long(predictor: AsyncPredictor, name: str) -> str:
    manifest = predictor.predictor.manifest
    limit = describe_limit(manifest.truncation, manifest.max_tokens)
    return f"{name} has more than {limit}, and truncate is false. Shorten it, or leave out truncate."


async def _await_while_connected(request: Request, scoring: Coroutine[Any, Any, Answer]) -> Answer:
    """Return the scores; ClientGoneError, and the scoring is cancelled, when the client closes the connection."""
    loop, caller = asyncio.get_running_loop(), asyncio.current_task()
    assert caller
    watcher: asyncio.Task[None] | None = None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        if (await request.receive())["type"] == "http.disconnect":
            is_gone = True
            caller.cancel()

    def start_watching() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(WATCHED_AFTER_S, start_watching)
    try:
        return await scoring
    except asyncio.CancelledError:
        if is_gone and not caller.uncancel():
            raise ClientGoneError from None
        raise
    finally:
        timer.cancel()
        if watcher:
            watcher.cancel()
