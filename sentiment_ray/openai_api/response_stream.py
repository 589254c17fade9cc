"""Writes a response as server-sent events, each with its number."""

from typing import Any

import orjson

from sentiment_ray.openai_api.answer import ScoresRow
from sentiment_ray.openai_api.model_answers import ModelAnswers
from sentiment_ray.openai_api.response import ResponseRequest, make_response


def write_response_stream(request: ResponseRequest, row: ScoresRow, model: ModelAnswers) -> bytes:
    """Return all events of a response, which is answered at once. ApiError as `make_response`."""
    response = make_response(request, row, model)
    begun = {**response, "status": "in_progress", "completed_at": None, "output": [], "usage": None}
    (message,) = response["output"]
    (text,) = message["content"]
    item = {"item_id": message["id"], "output_index": 0}
    part = {**item, "content_index": 0}
    empty_text = {**text, "text": "", "logprobs": []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**message, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**part, "part": empty_text}),
        ("response.output_text.delta", {**part, "delta": text["text"], "logprobs": text["logprobs"]}),
        ("response.output_text.done", {**part, "text": text["text"], "logprobs": text["logprobs"]}),
        ("response.content_part.done", {**part, "part": text}),
        ("response.output_item.done", {"output_index": 0, "item": message}),
        ("response.completed", {"response": response}),
    ]
    return b"".join(_write_event(number, name, fields) for number, (name, fields) in enumerate(events))


def _write_event(number: int, name: str, fields: dict[str, Any]) -> bytes:
    event = {"type": name, "sequence_number": number, **fields}
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
