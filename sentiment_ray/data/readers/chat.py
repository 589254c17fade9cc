"""Reads chat files of hosted fine-tuning APIs, one example on each line, and names what is wrong with an example."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_ray.data.readers.jsonl import read_json_lines
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.source_config import Source

ROLES = ("system", "user", "assistant")
MAX_QUOTED_ROLE_CHARACTERS = 20
"""A role is quoted only if it is one short word: it may be a misplaced review."""

Contents = dict[str, str | None]
"""The content of the message of each role."""


def read_chats(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a chat file: the user's message is the text, the assistant's message is the label."""
    for number, value, contents in read_examples(Path(task.path)):
        if isinstance(contents, str):
            yield Row(number, reason=contents)
        else:
            row_id = value.get(source.id_column) if source.id_column else None
            split_value = value.get(source.split_column) if source.split_column else None
            yield Row(number, row_id, (contents["user"],), contents["assistant"], split_value)


def read_examples(path: Path) -> Iterator[tuple[int, dict[str, Any], Contents | str]]:
    """Yield each line's number, its JSON object, and its contents or the reason why it is no example.

    A content may be null; the row checks decide what that means.
    """
    for number, value, reason in read_json_lines(path):
        yield number, value or {}, read_contents(value) if value is not None else reason or ""


def read_contents(value: dict[str, Any]) -> Contents | str:
    """Return each role's content, or the reason why this is not one question with one answer."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return "chat without a list of messages"
    contents: Contents = {}
    for message in messages:
        reason = _find_defect(message)
        if reason:
            return reason
        if message["role"] in contents:
            return f"chat with several {message['role']} messages"
        contents[message["role"]] = message["content"]
    missing = [role for role in ("user", "assistant") if role not in contents]
    if missing:
        return f"chat without {missing[0]} message"
    return contents if messages[-1]["role"] == "assistant" else "chat that does not end with the assistant message"


def _find_defect(message: dict[str, Any]) -> str | None:
    missing = [split_value for split_value in ("role", "content") if split_value not in message]
    if missing:
        return f"chat message without {missing[0]}"
    role, content = message["role"], message["content"]
    if role not in ROLES:
        may_quote = isinstance(role, str) and len(role) <= MAX_QUOTED_ROLE_CHARACTERS and len(role.split()) == 1
        return f"chat message of the unknown role {role!r}" if may_quote else "chat message of an unknown role"
    if content is not None and not isinstance(content, str):
        return f"content of the {role} message is not a string"
    return None
