"""A completion and its stream, made of given probabilities, as the strict Python client reads them."""

import json
from typing import Any

import numpy as np
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sentiment_ray.openai_api.answer import ScoresRow
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.chat_answer import UNKNOWN_SYSTEM_MESSAGE, UNREAD_TURNS, list_notices, make_completion
from sentiment_ray.openai_api.chat_request import read_chat_request
from sentiment_ray.openai_api.chat_stream import write_stream
from sentiment_ray.openai_api.model_answers import ModelAnswers

MODEL = ModelAnswers("ft:m", ("Negative", "Neutral", "Positive"), frozenset({"One word."}), "fp_1")
ROW = ScoresRow(np.array([0.5, 0.125, 0.375], dtype=np.float32), 7)  # type: ignore[arg-type]
USER = {"role": "user", "content": "It is broken."}


def complete(**fields: Any) -> ChatCompletion:
    request = read_chat_request({"model": "ft:m", "messages": [USER], **fields})
    completion = make_completion(request, ROW, MODEL)
    return ChatCompletion.model_validate(json.loads(json.dumps(completion)), strict=True)


def make_format(*labels: str, first: str = "sentiment") -> dict[str, Any]:
    properties = {"sentiment": {"enum": list(labels)}, "confidence": {"type": "number"}}
    ordered = {first: properties[first], **properties}
    schema = {"name": "Sentiment", "schema": {"type": "object", "properties": ordered}}
    return {"type": "json_schema", "json_schema": schema}


def read_stream(body: bytes) -> list[ChatCompletionChunk]:
    *events, done, nothing = body.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [ChatCompletionChunk.model_validate_json(event.removeprefix(b"data: "), strict=True) for event in events]


def test_the_answer_is_one_word_n_times() -> None:
    completion = complete(n=3)
    assert [choice.message.content for choice in completion.choices] == ["Negative"] * 3
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].logprobs is None
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (
        7,
        3,
        10,
    )


def test_the_label_is_one_token_with_its_log_probability() -> None:
    logprobs = complete(logprobs=True, top_logprobs=2).choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    (entry,) = logprobs.content
    assert (entry.token, entry.bytes, entry.logprob) == ("Negative", list(b"Negative"), pytest.approx(np.log(0.5)))
    top = [(each.token, each.logprob) for each in entry.top_logprobs]
    assert top == [("Negative", pytest.approx(np.log(0.5))), ("Positive", pytest.approx(np.log(0.375)))]


def test_a_probability_of_zero_has_a_finite_log_probability() -> None:
    request = read_chat_request({"model": "ft:m", "messages": [USER], "logprobs": True, "top_logprobs": 20})
    completion = make_completion(request, ScoresRow([0.0, 1.0, 0.0], 7), MODEL)
    (entry,) = completion["choices"][0]["logprobs"]["content"]
    assert [each["logprob"] for each in entry["top_logprobs"]] == [0.0, -9999.0, -9999.0]


@pytest.mark.parametrize("first", ["sentiment", "confidence"])
def test_an_answer_as_json_has_the_order_and_the_spelling_of_the_schema(first: str) -> None:
    completion = complete(
        response_format=make_format("positive", "NEUTRAL", first=first), logprobs=True, top_logprobs=5
    )
    content = completion.choices[0].message.content
    assert content is not None
    assert list(json.loads(content)) == [first, "confidence" if first == "sentiment" else "sentiment"]
    assert json.loads(content) == {"sentiment": "positive", "confidence": 0.75}
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "".join(entry.token for entry in logprobs.content) == content
    assert [each.token for each in logprobs.content[1].top_logprobs] == ["positive", "NEUTRAL"]


def test_a_word_that_json_escapes() -> None:
    model = ModelAnswers("m", ('"good"\t', "bad"), None, "fp_1")
    request = read_chat_request({"model": "m", "messages": [USER], "response_format": make_format('"good"\t', "bad")})
    content = make_completion(request, ScoresRow([0.75, 0.25], 3), model)["choices"][0]["message"]["content"]
    assert json.loads(content) == {"sentiment": '"good"\t', "confidence": 0.75}


def test_a_label_that_the_model_does_not_have() -> None:
    with pytest.raises(ApiError) as caught:
        complete(response_format=make_format("Positive", "Mixed"))
    assert caught.value.message == (
        "Invalid 'response_format.json_schema': 'Mixed' is no label of the model, whose labels are Negative, Neutral, "
        "Positive."
    )


def test_a_stream_has_role_content_end_and_usage() -> None:
    fields = {"n": 2, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 1}
    chunks = read_stream(write_stream(read_chat_request({"model": "ft:m", "messages": [USER], **fields}), ROW, MODEL))
    *chunks, last = chunks
    for index in range(2):
        role, content, end = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert (role.delta.role, role.delta.content, role.finish_reason) == ("assistant", "", None)
        assert (content.delta.content, end.finish_reason, end.delta.content) == ("Negative", "stop", None)
        assert content.logprobs is not None and content.logprobs.content is not None
        assert content.logprobs.content[0].token == "Negative"
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == [] and last.usage is not None and last.usage.total_tokens == 9
    assert len({chunk.id for chunk in (*chunks, last)}) == 1


def test_notices() -> None:
    def notice(rule: Any, *messages: dict[str, Any]) -> list[str]:
        request = read_chat_request({"model": "m", "messages": list(messages)})
        return list_notices(request.conversation, MODEL, unknown_system_message=rule)

    known, unknown = ({"role": "system", "content": text} for text in ("One word. ", "A poem."))
    assert notice("refuse", known, USER) == notice("refuse", USER) == []
    assert notice("notice", unknown, USER) == [UNKNOWN_SYSTEM_MESSAGE]
    assert notice("notice", USER, {"role": "assistant", "content": "Negative"}, USER) == [UNREAD_TURNS]
    with pytest.raises(ApiError, match="not in the training file"):
        notice("refuse", unknown, USER)
