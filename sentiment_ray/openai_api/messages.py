"""Reads the messages of a conversation: the last user message is the text to classify; knows no model."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sentiment_ray.openai_api.request_body import (
    invalid_type,
    invalid_value,
    missing,
    quote,
    unknown_parameter,
    unsupported,
)
from sentiment_ray.text.encoding import join_texts

SYSTEM_ROLES = ("system", "developer")
ROLES = (*SYSTEM_ROLES, "user", "assistant")
TOOL_ROLES = ("tool", "function")
TOOL_FIELDS = ("tool_calls", "function_call")
UNREAD_FIELDS = ("name", "refusal", "annotations", "audio", "id", "status", "phase", "type")
"""Fields that a message of an answer has when it is sent back; none of them is read."""
NO_TOOLS = "The model answers with one of its labels and calls no tools. Leave it out."
NO_OTHER_CONTENT = "The model reads text alone. Send a part of type '{text_type}'."
CHAT_TEXT_TYPES, INPUT_TEXT_TYPES = ("text",), ("input_text", "output_text")
"""The types of parts that hold text: in a chat, and in the input of a response or a decision."""


@dataclass(frozen=True)
class Conversation:
    """What is read of some messages: the text of the last user message, and the system messages joined as one."""

    text: str
    system_message: str | None
    num_unread_turns: int
    """User and assistant messages beside the one that is read."""


def read_messages(messages: list[Any], *, param: str, text_types: Collection[str] = CHAT_TEXT_TYPES) -> Conversation:
    """Return what is read of messages; ApiError names the one that is wrong, by `param` and its index.

    `text_types` are the types of the parts that hold text. The parts of a content are joined as in a training file.
    """
    system: list[str] = []
    texts: list[str] = []
    num_turns = 0
    for index, message in enumerate(messages):
        place = f"{param}[{index}]"
        role = _read_role(message, place)
        content = _read_content(message, f"{place}.content", role, text_types)
        if role in SYSTEM_ROLES:
            system.append(content)
            continue
        num_turns += 1
        if role == "user":
            texts.append(content)
    if not texts:
        raise invalid_value(param, "there is no message with role 'user', whose text would be classified.")
    return Conversation(texts[-1], join_texts(system), num_turns - 1)


def _read_role(message: Any, place: str) -> str:
    if not isinstance(message, Mapping):
        raise invalid_type(place, "an object", message)
    if message.get("type", "message") != "message":
        raise unsupported(f"{place}.type", NO_TOOLS)
    role = message.get("role")
    if role is None:
        raise missing(f"{place}.role")
    if role in TOOL_ROLES:
        raise unsupported(f"{place}.role", NO_TOOLS)
    if role not in ROLES:
        found = f"'{quote(role)}'" if isinstance(role, str) else "it"
        raise invalid_value(f"{place}.role", f"{found} is none of {', '.join(ROLES)}.")
    _check_fields(message, place)
    return str(role)


def _check_fields(message: Mapping[str, Any], place: str) -> None:
    for field in message:
        if field in TOOL_FIELDS and message[field]:
            raise unsupported(f"{place}.{field}", NO_TOOLS)
        if field not in ("role", "content", *UNREAD_FIELDS, *TOOL_FIELDS):
            raise unknown_parameter(f"{place}.{field}")


def _read_content(message: Mapping[str, Any], place: str, role: str, text_types: Collection[str]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if role == "assistant" and content is None:  # a refusal that is sent back
        return ""
    if content is None and "content" not in message:
        raise missing(place)
    if not isinstance(content, list):
        raise invalid_type(place, "a string or an array of text parts", content)
    parts = (_read_part(part, f"{place}[{index}]", role, text_types) for index, part in enumerate(content))
    return join_texts(list(parts)) or ""


def _read_part(part: Any, place: str, role: str, text_types: Collection[str]) -> str | None:
    if not isinstance(part, Mapping):
        raise invalid_type(place, "an object", part)
    kind = part.get("type")
    if role == "assistant" and kind == "refusal":
        return None
    if kind not in text_types:
        if kind is None:
            raise missing(f"{place}.type")
        raise unsupported(f"{place}.type", NO_OTHER_CONTENT.format(text_type=next(iter(text_types))))
    if not isinstance(part.get("text"), str):
        raise invalid_type(f"{place}.text", "a string", part.get("text"))
    return str(part["text"])


def read_input(value: Any, *, param: str, instructions: str | None = None) -> Conversation:
    """Return what is read of the input of a response or a decision: a text, or messages.

    `instructions` are read as one more system message.
    """
    if isinstance(value, str):
        return Conversation(value, instructions or None, 0)
    if not isinstance(value, list):
        raise invalid_type(param, "a string or an array of messages", value)
    conversation = read_messages(value, param=param, text_types=INPUT_TEXT_TYPES)
    joined = join_texts([instructions, conversation.system_message])
    return Conversation(conversation.text, joined, conversation.num_unread_turns)
