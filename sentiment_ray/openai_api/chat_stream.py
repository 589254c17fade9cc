"""Writes the completion of a chat as server-sent events."""

from collections.abc import Iterator
from typing import Any

import orjson

from sentiment_ray.openai_api.answer import Answer, ScoresRow, choose_answer, make_logprobs
from sentiment_ray.openai_api.chat_answer import make_head
from sentiment_ray.openai_api.chat_request import ChatRequest
from sentiment_ray.openai_api.model_answers import ModelAnswers
from sentiment_ray.openai_api.usage import make_chat_usage

DONE = b"data: [DONE]\n\n"


def write_stream(request: ChatRequest, row: ScoresRow, model: ModelAnswers) -> bytes:
    """Return all events of a chat, which is answered at once. ApiError when the format asks for an unknown label."""
    answer = choose_answer(row, model, request.answer_format)
    head = make_head("chat.completion.chunk", model)
    no_usage = {"usage": None} if request.include_usage else {}
    events = [
        _write_event({**head, "choices": [choice], **no_usage})
        for index in range(request.num_choices)
        for choice in _make_choices(request, answer, index)
    ]
    if request.include_usage:
        usage = make_chat_usage(row.num_tokens, request.num_choices * len(answer.tokens))
        events.append(_write_event({**head, "choices": [], "usage": usage}))
    return b"".join((*events, DONE))


def _make_choices(request: ChatRequest, answer: Answer, index: int) -> Iterator[dict[str, Any]]:
    """Yield the role, each token and the end of one choice."""
    yield _make_choice(index, {"role": "assistant", "content": "", "refusal": None})
    logprobs = make_logprobs(answer, request.num_top_logprobs) if request.logprobs else []
    for number, token in enumerate(answer.tokens):
        entry = {"content": [logprobs[number]], "refusal": None} if logprobs else None
        yield _make_choice(index, {"content": token}, logprobs=entry)
    yield _make_choice(index, {}, finish_reason="stop")


def _make_choice(
    index: int, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _write_event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
