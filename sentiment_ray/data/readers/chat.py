"""Reads chat files of hosted fine-tuning APIs, one example on each line, and names what is wrong with an example."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_ray.data.readers.jsonl import read_json_lines
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.source_config import Source
from sentiment_ray.text.encoding import join_texts

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""The roles of an example, and the role that each is read as. Newer hosted models call the system message so."""
TOOL_ROLES = ("tool", "function")
TEXT_PARTS = ("text", "input_text", "output_text")
"""The types of content parts that hold text."""
MAX_QUOTED_CHARACTERS = 20
"""A role or a type is quoted only if it is one short word: it may be a misplaced review."""


@dataclass(frozen=True)
class Example:
    """The content of the message of each role, or the reason why this is no row; with weight 0 it has both.

    A content may be null; the row checks decide what that means.
    """

    contents: dict[str, str | None] | None
    reason: str | None = None


def read_chats(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a chat file: the user's message is the text, the assistant's message is the label."""
    for number, value, example in read_examples(Path(task.path), source.encoding):
        if example.reason or not example.contents:
            yield Row(number, reason=example.reason)
        else:
            row_id = value.get(source.id_column) if source.id_column else None
            split_value = value.get(source.split_column) if source.split_column else None
            copied = tuple([value.get(name, task.path_columns.get(name)) for name in task.copied.names])
            contents = example.contents
            yield Row(number, row_id, (contents["user"],), contents["assistant"], split_value, None, copied)


def read_examples(path: Path, encoding: str | None = None) -> Iterator[tuple[int, dict[str, Any], Example]]:
    """Yield each line's number, its JSON object, and its example."""
    for number, value, reason in read_json_lines(path, encoding):
        yield number, value or {}, read_example(value) if value is not None else Example(None, reason)


def read_example(value: dict[str, Any]) -> Example:
    """Return the contents of one question with one answer, or the reason why this is none."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return Example(None, "chat without a list of messages")
    contents: dict[str, str | None] = {}
    for message in messages:
        reason = _find_defect(message)
        if reason:
            return Example(None, reason)
        role = ROLES[message["role"]]
        if role in contents:
            return Example(None, f"chat with several {role} messages")
        contents[role] = _join_parts(message["content"])
    missing = [role for role in ("user", "assistant") if role not in contents]
    if missing:
        return Example(None, f"chat without {missing[0]} message")
    if messages[-1]["role"] != "assistant":
        return Example(None, "chat that does not end with the assistant message")
    return Example(contents, "chat whose answer has weight 0" if _has_no_weight(messages[-1]) else None)


def _find_defect(message: dict[str, Any]) -> str | None:
    """Return why a message is not one of text; None if it is."""
    role, content = message.get("role"), message.get("content")
    if message.get("tool_calls") or message.get("function_call"):
        return "chat with a tool call"
    if message.get("refusal"):
        return "chat with a refusal"
    missing = [name for name in ("role", "content") if name not in message]
    if missing:
        return f"chat message without {missing[0]}"
    if role in TOOL_ROLES:
        return f"chat with a {role} message"
    if not isinstance(role, str) or role not in ROLES:
        return f"chat message of the unknown role {role!r}" if _may_quote(role) else "chat message of an unknown role"
    if isinstance(content, list):
        return next((reason for part in content if (reason := _find_part_defect(part, role))), None)
    return None if content is None or isinstance(content, str) else f"content of the {role} message is not text"


def _find_part_defect(part: Any, role: str) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, str) or (kind in TEXT_PARTS and isinstance(part.get("text"), str)):
        return None
    if kind == "refusal":
        return "chat with a refusal"
    return (
        f"content of the {role} message has a part of type {kind!r}"
        if _may_quote(kind)
        else (f"content of the {role} message is not text")
    )


def _join_parts(content: Any) -> str | None:
    """Return a content as one text; parts are joined as the texts of several columns are."""
    if not isinstance(content, list):
        return content
    return join_texts([part if isinstance(part, str) else part["text"] for part in content])


def _has_no_weight(message: dict[str, Any]) -> bool:
    weight = message.get("weight")
    return isinstance(weight, int | float) and weight == 0


def _may_quote(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_QUOTED_CHARACTERS and len(value.split()) == 1
