"""Reads one example of a training file: a list of chat messages that ends with the assistant's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentiment_ray.data.readers.chat import ROLES, TEXT_PARTS
from sentiment_ray.text.encoding import join_texts

ROLE_NAMES = ", ".join(f"'{role}'" for role in ROLES)
UNUSED_KEYS = ("tools", "functions", "parallel_tool_calls", "tool_calls", "function_call", "refusal", "audio")
"""Keys of examples and messages that may be null."""
MAX_QUOTED_LETTERS = 40


class InvalidExampleError(Exception):
    """An example of a training file is wrong; the text names it, and the message in it."""


@dataclass(frozen=True)
class ChatExample:
    """One question with its answer."""

    system: str
    """The system messages, one a line; empty without one."""
    text: str
    answer: str
    has_earlier_turns: bool
    has_no_weight: bool


def read_example(number: int, line_number: int, value: Mapping[str, Any]) -> ChatExample:
    """Return an example; InvalidExampleError when it is wrong. Examples and their messages are counted from 1."""
    where = f"Example {number}"
    messages = value.get("messages")
    if "messages" not in value:
        raise InvalidExampleError(_explain_missing_messages(line_number, value))
    _check_keys(where, value, ("messages",))
    if not isinstance(messages, list) or not messages:
        raise InvalidExampleError(f"{where} 'messages' should be a list of messages")
    contents = [_read_message(f"{where}, message {index}", each) for index, each in enumerate(messages, start=1)]
    if messages[-1]["role"] != "assistant":
        raise InvalidExampleError(f"{where} Last message must be from the assistant")
    by_role = [(ROLES[message["role"]], content) for message, content in zip(messages, contents, strict=True)]
    user_messages = [content for role, content in by_role if role == "user"]
    if not user_messages:
        raise InvalidExampleError(f"{where} has no message from the user")
    return ChatExample(
        system="\n".join(content for role, content in by_role if role == "system"),
        text=user_messages[-1],
        answer=contents[-1].strip(),
        has_earlier_turns=len(user_messages) > 1 or sum(role == "assistant" for role, _ in by_role) > 1,
        has_no_weight=messages[-1].get("weight") == 0,
    )


def _explain_missing_messages(line_number: int, value: Mapping[str, Any]) -> str:
    if "prompt" in value or "completion" in value:
        return (
            f"Line {line_number} is in the prompt-completion format, but the model is chat-formatted and requires "
            'chat-formatted data: {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}'
        )
    return f"Line {line_number} Unexpected file format, expected chat messages: the key 'messages' is missing"


def _read_message(where: str, message: Any) -> str:
    """Return the content of a message as one text."""
    if not isinstance(message, dict):
        raise InvalidExampleError(f"{where} should be an object with a role and a content")
    if "role" not in message:
        raise InvalidExampleError(f"{where} Discriminator 'role' is missing in value")
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        given = f"'{role[:MAX_QUOTED_LETTERS]}'" if isinstance(role, str) else "that is not a string"
        raise InvalidExampleError(
            f"{where} No match for discriminator 'role' and value {given} (allowed values: {ROLE_NAMES})"
        )
    _check_keys(where, message, ("role", "content", "name", "weight"))
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
        raise InvalidExampleError(f"{where} 'weight' should be 0 or 1, in a message from the assistant")
    content = _join_parts(message.get("content"))
    if content is None:
        raise InvalidExampleError(f"{where} 'content' should be a valid string")
    if role != "system" and not content.strip():
        raise InvalidExampleError(f"{where} 'content' should not be empty")
    return content


def _check_keys(where: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in value:
        if key not in known and not (key in UNUSED_KEYS and value[key] is None):
            raise InvalidExampleError(f"{where} '{key[:MAX_QUOTED_LETTERS]}' Extra inputs are not permitted")


def _join_parts(content: Any) -> str | None:
    """Return a content as one text; None when it is no text and no list of parts that are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [_read_part(part) for part in content]
    return None if None in parts else join_texts(parts) or ""


def _read_part(part: Any) -> str | None:
    text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXT_PARTS else None
    return text if isinstance(text, str) else None
