"""Reads a chat request: which fields are kept, which change nothing here, and which are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from sentiment_ray.openai_api.answer_format import AnswerFormat, read_response_format
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.messages import NO_TOOLS, Conversation, read_messages
from sentiment_ray.openai_api.request_body import StrictBody, read_body, unsupported

NO_AUDIO = "The model answers with one of its labels as text. Leave it out."
REFUSED = {
    "tools": NO_TOOLS,
    "tool_choice": NO_TOOLS,
    "functions": f"{NO_TOOLS} For an answer as JSON use 'response_format' with an enum of labels.",
    "function_call": NO_TOOLS,
    "parallel_tool_calls": NO_TOOLS,
    "audio": NO_AUDIO,
    "logit_bias": "To limit the answer to some labels use 'response_format' with an enum of them.",
    "web_search_options": "The model reads the last user message alone. Put what it shall read into the message.",
    "moderation": "The model answers with one of its labels. Leave it out.",
}
"""Fields that are refused, each with what to use."""

Number = Annotated[int, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Text = Annotated[str, Field(max_length=10_000)]


class StreamOptions(StrictBody):
    """Options of an answer that is streamed."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class WithoutEffect(StrictBody):
    """Fields of a chat that are checked and change nothing: the answer is the label that the model finds."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    max_tokens: Number | None = None
    max_completion_tokens: Number | None = None
    stop: Any = None
    user: Text | None = None
    safety_identifier: Text | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: Text | None = None
    reasoning_effort: Text | None = None
    verbosity: Text | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: Text | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Text | None = None


class ChatBody(WithoutEffect):
    """The body of a chat."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[Any], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    modalities: list[Literal["text", "audio"]] | None = None


@dataclass(frozen=True)
class ChatRequest:
    """What a chat asks for, read and checked as far as the model need not be known."""

    model: str
    conversation: Conversation
    num_choices: int = 1
    logprobs: bool = False
    num_top_logprobs: int = 0
    answer_format: AnswerFormat | None = None
    stream: bool = False
    include_usage: bool = False

    @property
    def text(self) -> str:
        """The text to classify."""
        return self.conversation.text


def read_chat_request(body: bytes | Mapping[str, Any]) -> ChatRequest:
    """Return the request in the body of a chat, as bytes or as a JSON object. ApiError names the wrong field."""
    chat = read_body(ChatBody, body, refused=REFUSED)
    if "audio" in (chat.modalities or ()):
        raise unsupported("modalities", NO_AUDIO)
    if chat.top_logprobs is not None and not chat.logprobs:
        raise _only_with("top_logprobs", "logprobs")
    if chat.stream_options is not None and not chat.stream:
        raise _only_with("stream_options", "stream")
    return ChatRequest(
        model=chat.model,
        conversation=read_messages(chat.messages, param="messages"),
        num_choices=chat.n or 1,
        logprobs=bool(chat.logprobs),
        num_top_logprobs=chat.top_logprobs or 0,
        answer_format=read_response_format(chat.response_format, "response_format"),
        stream=bool(chat.stream),
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
    )


def _only_with(param: str, other: str) -> ApiError:
    return ApiError(400, f"The '{param}' parameter is only allowed when '{other}' is enabled.", param=param)
