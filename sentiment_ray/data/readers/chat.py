"""Reads the chat format of hosted fine-tuning APIs, one example a line, and names what is wrong; counts nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_ray.data.config import Source
from sentiment_ray.data.readers.delimited import json_lines
from sentiment_ray.data.readers.units import Row, Unit

ROLES = ("system", "user", "assistant")
LONGEST_ROLE = 20
"""A role is quoted only if it is a short word: it may be a review in a wrong place."""


def read_chats(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a chat file: the user's message is the text, the assistant's the label."""
    for number, value, said in read_examples(Path(unit.path)):
        if isinstance(said, str):
            yield Row(number, reason=said)
        else:
            identity = value.get(source.id_column) if source.id_column else None
            key = value.get(source.key_column) if source.key_column else None
            yield Row(number, identity, (said["user"],), said["assistant"], key)


def read_examples(path: Path) -> Iterator[tuple[int, dict[str, Any], dict[str, str | None] | str]]:
    """Yield each line's number, its object, and the content by role; or the reason why it is no example.

    A content may be null: what that means for a row is for the checks of rows.
    """
    for number, value, reason in json_lines(path):
        yield number, value or {}, messages_by_role(value) if value is not None else reason or ""


def messages_by_role(value: dict[str, Any]) -> dict[str, str | None] | str:
    """Return each role's content, or the reason why this is not one question and one answer."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return "chat without a list of messages"
    said: dict[str, str | None] = {}
    for message in messages:
        reason = _complaint(message)
        if reason:
            return reason
        if message["role"] in said:
            return f"chat with several {message['role']} messages"
        said[message["role"]] = message["content"]
    missing = [role for role in ("user", "assistant") if role not in said]
    if missing:
        return f"chat without {missing[0]} message"
    return said if messages[-1]["role"] == "assistant" else "chat that does not end with the assistant message"


def _complaint(message: dict[str, Any]) -> str | None:
    missing = [key for key in ("role", "content") if key not in message]
    if missing:
        return f"chat message without {missing[0]}"
    role, content = message["role"], message["content"]
    if role not in ROLES:
        may_quote = isinstance(role, str) and len(role) <= LONGEST_ROLE and len(role.split()) == 1
        return f"chat message of the unknown role {role!r}" if may_quote else "chat message of an unknown role"
    if content is not None and not isinstance(content, str):
        return f"content of the {role} message is not a string"
    return None
