"""Reads a request for a response in its text form, and answers it with one message."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from sentiment_ray.openai_api.answer import Answer, ScoresRow, choose_answer, make_logprobs
from sentiment_ray.openai_api.answer_format import AnswerFormat, read_text_format
from sentiment_ray.openai_api.chat_request import Text
from sentiment_ray.openai_api.ids import make_answer_id, now_s
from sentiment_ray.openai_api.messages import NO_TOOLS, Conversation, read_input
from sentiment_ray.openai_api.model_answers import ModelAnswers
from sentiment_ray.openai_api.request_body import StrictBody, read_body, unsupported
from sentiment_ray.openai_api.usage import make_usage

NO_STATE = "Each response stands for itself: send the text in 'input'."
REFUSED = {
    "tools": NO_TOOLS,
    "tool_choice": NO_TOOLS,
    "parallel_tool_calls": NO_TOOLS,
    "max_tool_calls": NO_TOOLS,
    "previous_response_id": NO_STATE,
    "conversation": NO_STATE,
    "prompt": NO_STATE,
    "background": "An answer takes milliseconds. For many texts make a batch.",
    "moderation": "The model answers with one of its labels. Leave it out.",
    "context_management": NO_STATE,
    "image": "The model reads text alone. Leave it out.",
}
"""Fields that are refused, each with what to use."""
LOGPROBS = "message.output_text.logprobs"


class TextOptions(StrictBody):
    """How the text of the answer shall look."""

    format: dict[str, Any] | None = None
    verbosity: Text | None = None


class ResponseBody(StrictBody):
    """The body of a request for a response."""

    model: Annotated[str, Field(min_length=1)]
    input: Any
    instructions: str | None = None
    text: TextOptions | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    # What follows changes nothing.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    store: bool | None = None
    truncation: Text | None = None
    reasoning: dict[str, Any] | None = None
    service_tier: Text | None = None
    user: Text | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Text | None = None


@dataclass(frozen=True)
class ResponseRequest:
    """What is asked for, and the fields that the answer repeats."""

    body: ResponseBody
    conversation: Conversation
    answer_format: AnswerFormat | None

    @property
    def logprobs(self) -> bool:
        """Whether log probabilities are asked for."""
        return LOGPROBS in (self.body.include or ()) or bool(self.body.top_logprobs)


def read_response_request(body: bytes) -> ResponseRequest:
    """Return the request in a body. ApiError names the field and the fault."""
    response = read_body(ResponseBody, body, refused=REFUSED)
    for index, name in enumerate(response.include or ()):
        if name != LOGPROBS:
            raise unsupported(f"include[{index}]", f"Use '{LOGPROBS}'.")
    conversation = read_input(response.input, param="input", instructions=response.instructions)
    answer_format = read_text_format(response.text.format if response.text else None, "text.format")
    return ResponseRequest(response, conversation, answer_format)


def make_response(request: ResponseRequest, row: ScoresRow, model: ModelAnswers) -> dict[str, Any]:
    """Return the body of the answer. ApiError when the format asks for an unknown label."""
    answer = choose_answer(row, model, request.answer_format)
    return {
        **make_head(request, model),
        "status": "completed",
        "completed_at": now_s(),
        "output": [make_message(make_answer_id("msg_"), [make_text(request, answer)])],
        "usage": make_usage(row.num_tokens, len(answer.tokens)),
    }


def make_message(message_id: str, content: list[dict[str, Any]], *, status: str = "completed") -> dict[str, Any]:
    """Return the one message of a response."""
    return {"id": message_id, "type": "message", "status": status, "role": "assistant", "content": content}


def make_text(request: ResponseRequest, answer: Answer) -> dict[str, Any]:
    """Return the content of the message, with log probabilities where they are asked for."""
    logprobs = make_logprobs(answer, request.body.top_logprobs or 0) if request.logprobs else []
    return {"type": "output_text", "text": answer.content, "annotations": [], "logprobs": logprobs}


def make_head(request: ResponseRequest, model: ModelAnswers) -> dict[str, Any]:
    """Return a response before it is answered: its id and what the request said."""
    body = request.body
    text_format = (body.text.format if body.text else None) or {"type": "text"}
    return {
        "id": make_answer_id("resp_"),
        "object": "response",
        "created_at": now_s(),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": model.model,
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": {"format": text_format},
        "tool_choice": "none",
        "tools": [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
    }
