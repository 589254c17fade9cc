"""Makes the completion of a chat from the scores of its text; the service and batches use the same function."""

from typing import Any, Literal

from sentiment_ray.openai_api.answer import Answer, ScoresRow, choose_answer, make_logprobs
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.chat_request import ChatRequest
from sentiment_ray.openai_api.ids import make_answer_id, now_s
from sentiment_ray.openai_api.messages import Conversation
from sentiment_ray.openai_api.model_answers import ModelAnswers
from sentiment_ray.openai_api.usage import make_chat_usage

UNKNOWN_SYSTEM_MESSAGE = "The system message is not in the model's training file; it changes nothing in the answer."
UNREAD_TURNS = "The last user message alone is read; earlier turns change nothing in the answer."


def make_completion(request: ChatRequest, row: ScoresRow, model: ModelAnswers) -> dict[str, Any]:
    """Return the body of a chat that is not streamed. ApiError when the format asks for an unknown label."""
    answer = choose_answer(row, model, request.answer_format)
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "message": {"role": "assistant", "content": answer.content, "refusal": None, "annotations": []},
            "logprobs": make_choice_logprobs(request, answer),
            "finish_reason": "stop",
        }
        for index in range(request.num_choices)
    ]
    return {
        **make_head("chat.completion", model),
        "choices": choices,
        "usage": make_chat_usage(row.num_tokens, request.num_choices * len(answer.tokens)),
    }


def make_head(kind: str, model: ModelAnswers) -> dict[str, Any]:
    """Return the fields that a completion and each chunk of a streamed one begin with."""
    return {
        "id": make_answer_id("chatcmpl-"),
        "object": kind,
        "created": now_s(),
        "model": model.model,
        "service_tier": "default",
        "system_fingerprint": model.fingerprint,
    }


def make_choice_logprobs(request: ChatRequest, answer: Answer) -> dict[str, Any] | None:
    """Return `logprobs` of a choice, or None when they are not asked for."""
    if not request.logprobs:
        return None
    return {"content": make_logprobs(answer, request.num_top_logprobs), "refusal": None}


def list_notices(
    conversation: Conversation,
    model: ModelAnswers,
    *,
    unknown_system_message: Literal["notice", "refuse"],
    param: str = "messages",
) -> list[str]:
    """Return what should be known of an answer, for a header. ApiError for a system message that is refused."""
    notices = []
    system_message = conversation.system_message
    if system_message and model.system_messages is not None and system_message.strip() not in model.system_messages:
        if unknown_system_message == "refuse":
            message = (
                "The system message is not in the training file of the model. Send one of those that it was trained "
                "with, or none."
            )
            raise ApiError(400, message, param=param, code="unknown_system_message")
        notices.append(UNKNOWN_SYSTEM_MESSAGE)
    if conversation.num_unread_turns:
        notices.append(UNREAD_TURNS)
    return notices
