"""Says how JSON that is not one object on each line is laid out, and how to rewrite it; opens no file."""

import json
import re
from collections.abc import Collection
from typing import Any

ONE_LINE = "Write each on one line: jq -c . FILE > FILE.jsonl"
FIRST_LINE_OF_OBJECT = re.compile(r'\s*\{[ \t]*("(?:[^"\\]|\\.)*"\s*:[ \t]*[\[{]?[ \t]*)?\r?\n')
"""The first line of an object that goes on: a brace, or a brace, a key and a bracket."""
FIRST_CONTAINER = re.compile(r'\s*\{\s*"([^"\\]*)"\s*:\s*(\{|\[\s*[\[{]|\[)')
"""The beginning of an object whose first value is an object or an array."""
LISTS_IN_EXAMPLES = {"messages", "conversations", "contents", "preferred_output", "annotations"}
"""Keys of one example, out of the layouts for fine-tuning and labelling, that hold a list."""
MAX_DEPTH = 4
PANDAS = 'It seems to be a table of pandas by columns. Write it with to_json(path, orient="records", lines=True).'


def is_table(value: dict[str, Any], expected: Collection[str]) -> bool:
    """Whether an object holds all rows of a table instead of one row with the `expected` keys."""
    wanted = [value[name] for name in expected if name in value]
    if wanted or not LISTS_IN_EXAMPLES.isdisjoint(value):
        return any(isinstance(each, dict | list) for each in wanted)
    return any(isinstance(each, list) and each and isinstance(each[0], dict | list) for each in value.values())


def explain_table(value: dict[str, Any]) -> str:
    """Return how the rows in an object that `is_table` are written one on each line."""
    rows = (key for key, each in value.items() if isinstance(each, list) and each and isinstance(each[0], dict))
    key = next(rows, None)
    return _explain_key(key) if key is not None else PANDAS


def find_nested_key(value: dict[str, Any], name: str) -> str | None:
    """Return the path of a text inside the objects of an object that a name means: `row.text` for it or for `text`."""
    level = list(value.items())
    while level:
        path, inner = level.pop(0)
        if isinstance(inner, dict) and path.count(".") < MAX_DEPTH:
            level += [(f"{path}.{key}", each) for key, each in inner.items()]
        elif isinstance(inner, str) and "." in path and (path == name or path.endswith(f".{name}")):
            return path
    return None


def spans_lines(text: str) -> bool:
    """Whether a text begins with an object that goes on after its first line."""
    value, end = _decode_first(text)
    return FIRST_LINE_OF_OBJECT.match(text) is not None or (isinstance(value, dict) and "\n" in text.lstrip()[:end])


def explain_layout(text: str) -> str:
    """Return what a file holds, by its beginning, if it is not one object on each line, to follow its path."""
    if text.lstrip().startswith("["):
        return "its lines hold arrays. Write an object with the names of the columns on each line."
    value, _ = _decode_first(text)
    container = FIRST_CONTAINER.match(text)
    if isinstance(value, dict) and is_table(value, ()):
        return f"it is one object. {explain_table(value)}"
    if container and value is None:
        return f"it seems to be one object. {_explain_key(container[1]) if '{' in container[2][1:] else PANDAS}"
    if spans_lines(text):
        return f"its objects span several lines. {ONE_LINE}"
    if isinstance(value, dict):
        return "its lines go on after an object. Write one object on each line, and nothing else."
    if text.lstrip().startswith("{'"):
        return "its keys are in single quotes, as Python shows them. JSON has double quotes: use json.dumps."
    return "no line of it is a JSON object. Write one object on each line, or name the format of the file."


def _decode_first(text: str) -> tuple[Any, int]:
    """Return the first JSON value of a text and its length, or None if it is cut off or no JSON."""
    try:
        return json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None, 0


def _explain_key(key: str) -> str:
    return f"Its rows are in the key {key!r}. Write each on one line: jq -c '.[\"{key}\"][]' FILE > FILE.jsonl"
