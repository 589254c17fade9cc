"""Tells Schemathesis what no JSON schema can say of a good request: a tensor has its shape, and no text is too long.

Only a value that may be as it is on its own is replaced, so a bad request stays a bad request.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: Any) -> None:
    """Give a tensor the shape of its data, and let long texts be cut."""
    body = case.body
    if not isinstance(body, dict):
        return
    _let_texts_be_cut(body)
    _let_texts_be_cut(body.get("parameters"))
    for instance in _list_objects(body.get("instances")):
        _let_texts_be_cut(instance)
    for tensor in _list_objects(body.get("inputs")):
        shape, data = tensor.get("shape"), tensor.get("data")
        if isinstance(data, list) and isinstance(shape, list) and len(shape) in (1, 2) and all(map(_is_size, shape)):
            tensor["shape"] = [len(data), 1][: len(shape)]


def _let_texts_be_cut(values: Any) -> None:
    if isinstance(values, dict) and values.get("truncate") is False:
        values["truncate"] = True


def _list_objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value == int(value)
