"""What a chat request keeps, and the exact error of each field that is refused."""

from typing import Any

import orjson
import pytest

from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.chat_request import ChatRequest, read_chat_request

USER = {"role": "user", "content": "This is a cherry pie."}
CHAT = {"model": "ft:gpt-3.5-turbo:local::12345678", "messages": [{"role": "system", "content": "One word."}, USER]}


def make_schema(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "Sentiment", "strict": True, "schema": schema}}


LABELS = {"type": "string", "enum": ["Positive", "Negative"]}


def read(**changes: Any) -> ChatRequest:
    return read_chat_request(orjson.dumps({**CHAT, **changes}))


def refuse(body: Any) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        read_chat_request(body if isinstance(body, bytes) else orjson.dumps(body))
    assert caught.value.status == 400
    return caught.value.make_body()["error"]


def test_the_last_user_message_is_the_text() -> None:
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    messages = [
        {"role": "developer", "content": "One word."},
        {"role": "user", "content": "earlier"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "system", "content": [{"type": "text", "text": "Please."}]},
        {"role": "user", "content": parts, "name": "Ann"},
    ]
    conversation = read(messages=messages).conversation
    assert conversation.text == "first\nsecond"
    assert conversation.system_message == "One word.\nPlease."
    assert conversation.num_unread_turns == 2


def test_fields_without_effect_are_taken() -> None:
    fields = {
        "temperature": 0, "top_p": 1.0, "seed": -5, "frequency_penalty": 2, "presence_penalty": -2, "max_tokens": 1,
        "max_completion_tokens": 9, "stop": ["\n"], "user": "ann", "store": True, "metadata": {"a": "b"},
        "service_tier": "auto", "tools": None, "logit_bias": None, "modalities": ["text"], "response_format":
        {"type": "text"}, "stream": False, "n": None, "prediction": {"type": "content", "content": "Positive"},
    }  # fmt: skip
    assert read(**fields) == read() == read_chat_request(CHAT)


def test_what_is_kept() -> None:
    request = read(
        n=3,
        logprobs=True,
        top_logprobs=20,
        stream=True,
        stream_options={"include_usage": True},
        response_format=make_schema(confidence={"type": "number", "minimum": 0, "maximum": 1}, sentiment=LABELS),
    )
    assert (request.num_choices, request.logprobs, request.num_top_logprobs) == (3, True, 20)
    assert (request.stream, request.include_usage) == (True, True)
    assert request.answer_format is not None
    assert request.answer_format.fields == ("confidence", "sentiment")
    assert request.answer_format.choices == ("Positive", "Negative")


def test_an_enum_may_be_a_definition_and_a_constant() -> None:
    answer = make_schema(sentiment={"$ref": "#/$defs/Sentiment"})
    answer["json_schema"]["schema"]["$defs"] = {"Sentiment": LABELS}
    assert read(response_format=answer).answer_format.choices == ("Positive", "Negative")  # type: ignore[union-attr]
    constant = make_schema(sentiment={"const": "Positive", "type": "string"})
    assert read(response_format=constant).answer_format.choices == ("Positive",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "field",
    [
        "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "audio", "logit_bias",
        "web_search_options", "moderation",
    ],
)  # fmt: skip
def test_what_is_not_offered_is_named_with_what_to_use(field: str) -> None:
    error = refuse({**CHAT, field: {"any": "value"}})
    assert error["message"].startswith(f"'{field}' is not supported here. ")
    assert (error["param"], error["code"]) == (field, "unsupported_parameter")
    assert error["type"] == "invalid_request_error"


def test_unknown_arguments() -> None:
    expected = {"type": "invalid_request_error", "param": None, "code": None}
    assert refuse({**CHAT, "best_of": 1}) == expected | {"message": "Unrecognized request argument supplied: best_of"}
    two = refuse({**CHAT, "best_of": 1, "echo": True, "n": "x"})
    assert two == expected | {"message": "Unrecognized request arguments supplied: best_of, echo"}


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"model": None}, "model", "Invalid type for 'model': expected a string, but got null instead."),
        ({"messages": []}, "messages", "Invalid value for 'messages': List should have at least 1 item"),
        ({"messages": "hi"}, "messages", "Invalid type for 'messages': expected an array, but got a string instead."),
        ({"messages": [USER, 3]}, "messages[1]", "Invalid type for 'messages[1]': expected an object, but got an"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "Missing required parameter: 'messages[0].role'."),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "Missing required parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "Invalid type for 'messages[0].c"),
        ({"messages": [{**USER, "role": "owner"}]}, "messages[0].role", "Invalid 'messages[0].role': 'owner' is none"),
        ({"messages": [{**USER, "role": "tool"}]}, "messages[0].role", "'messages[0].role' is not supported here."),
        ({"messages": [{**USER, "colour": 1}]}, "messages[0].colour", "Unknown parameter: 'messages[0].colour'."),
        ({"messages": [{**USER, "role": "system"}]}, "messages", "Invalid 'messages': there is no message with role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            "messages[0].content[0].type",
            "'messages[0].content[0].type' is not supported here. The model reads text alone. Send a part of type",
        ),
        ({"n": 0}, "n", "Invalid value for 'n': Input should be greater"),
        ({"n": True}, "n", "Invalid type for 'n': expected an integer, but got a boolean instead."),
        ({"n": "3"}, "n", "Invalid type for 'n': expected an integer, but got a string instead."),
        (
            {"temperature": 2.5},
            "temperature",
            "Invalid value for 'temperature': Input should be less",
        ),
        (
            {"max_tokens": 0},
            "max_tokens",
            "Invalid value for 'max_tokens': Input should be greater",
        ),
        ({"top_logprobs": 3}, "top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is"),
        (
            {"logprobs": True, "top_logprobs": 21},
            "top_logprobs",
            "Invalid value for 'top_logprobs': Input should",
        ),
        ({"stream_options": {}}, "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is"),
        ({"stream": True, "stream_options": {"x": 1}}, None, "Unrecognized request argument supplied: x"),
        ({"modalities": ["text", "audio"]}, "modalities", "'modalities' is not supported here."),
        ({"response_format": {"type": "json_object"}}, "response_format.type", "'response_format.type' is not supp"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing required parameter"),
        (
            {"response_format": make_schema(sentiment={"type": "string"})},
            "response_format.json_schema.schema.properties.sentiment",
            "'response_format.json_schema.schema.properties.sentiment' is not supported here. The schema must be",
        ),
        (
            {"response_format": make_schema(sentiment=LABELS, confidence={"type": "number", "maximum": 0.5})},
            "response_format.json_schema.schema.properties.confidence",
            "'response_format.json_schema.schema.properties.confidence' is not supported here.",
        ),
        (
            {"response_format": make_schema(confidence={"type": "number"})},
            "response_format.json_schema.schema",
            "'response_format.json_schema.schema' is not supported here. The schema must be an object with one",
        ),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], param: str, message: str) -> None:
    error = refuse({**CHAT, **changes})
    assert error["param"] == param
    assert error["message"].startswith(message)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"chat"', b"\xff\xfe{}", b'{"n": NaN}', b"[" * 2000, b'{"a":"\\ud800"}']
)
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    assert refuse(body)["param"] is None


def test_a_missing_field_is_named() -> None:
    assert refuse({"model": "m"})["message"] == "Missing required parameter: 'messages'."
    assert refuse({"messages": [USER]})["message"] == "Missing required parameter: 'model'."
