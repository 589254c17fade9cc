"""The endpoints that a batch can ask; each reads bodies and makes answers with the functions of its own route."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sentiment_ray.openai_api.answer import ScoresRow
from sentiment_ray.openai_api.chat_answer import make_completion
from sentiment_ray.openai_api.chat_request import ChatRequest, read_chat_request
from sentiment_ray.openai_api.decision import make_decision, read_decision_request
from sentiment_ray.openai_api.model_answers import ModelAnswers
from sentiment_ray.openai_api.request_body import unsupported
from sentiment_ray.openai_api.response import ResponseRequest, make_response, read_response_request

NO_STREAM = "A batch answers in a file. Leave it out."


@dataclass(frozen=True)
class BatchEndpoint:
    """An endpoint. `read` and `answer` raise ApiError for a wrong request; a request has a `conversation`."""

    read: Callable[[bytes], Any]
    answer: Callable[[Any, ScoresRow, ModelAnswers], dict[str, Any]]
    param: str
    """The field that holds the text."""


def _read_chat(body: bytes) -> ChatRequest:
    request = read_chat_request(body)
    if request.stream:
        raise unsupported("stream", NO_STREAM)
    return request


def _read_response(body: bytes) -> ResponseRequest:
    request = read_response_request(body)
    if request.body.stream:
        raise unsupported("stream", NO_STREAM)
    return request


ENDPOINTS: Mapping[str, BatchEndpoint] = {
    "/v1/chat/completions": BatchEndpoint(_read_chat, make_completion, "messages"),
    "/v1/responses": BatchEndpoint(_read_response, make_response, "input"),
    "/v1/decisions": BatchEndpoint(read_decision_request, make_decision, "input"),
}


def read_request(endpoint: BatchEndpoint, body: Mapping[str, Any]) -> Any:
    """Return a request as its route reads it; ApiError when it is wrong."""
    return endpoint.read(orjson.dumps(body))
