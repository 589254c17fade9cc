"""Reads a batch's input file: a request on each line. It is read line by line, so a million requests need no memory."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_ray.openai_api.json_lines import InvalidLineError, parse_object, read_lines

MAX_ERRORS = 100
"""Errors of a file that are listed; a wrong file often has the same one on every line."""
MAX_ID_CHARACTERS = 512
KEYS = ("custom_id", "method", "url", "body")


@dataclass(frozen=True)
class BatchRequest:
    """A request of a batch: the line of the file that it is on, its id, and its body."""

    line: int
    custom_id: str
    body: Mapping[str, Any]


class InvalidBatchFileError(Exception):
    """A file that is no batch; `errors` are those of the batch object."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["message"])
        self.errors = errors


@dataclass(frozen=True)
class CheckedBatch:
    """What all requests of a batch have in common, and how many there are."""

    model: str
    num_requests: int


def check_batch_file(path: Path, *, endpoint: str, max_requests: int, max_line_bytes: int) -> CheckedBatch:
    """Check every line of a file but for what is inside of the bodies. InvalidBatchFileError lists what is wrong."""
    errors: list[dict[str, Any]] = []
    models: dict[str, int] = {}
    hashes, num_requests = array("Q"), 0
    for line, value in _read_objects(path, max_line_bytes, errors):
        num_requests += 1
        if num_requests > max_requests:
            message = f"The file has more than {max_requests:,} requests. Split it into several batches."
            raise InvalidBatchFileError([_describe("request_limit_exceeded", message, None, line)])
        error = _check_line(line, value, endpoint)
        if error is None:
            hashes.append(_hash_id(value["custom_id"]))
            models.setdefault(value["body"]["model"], line)
        elif len(errors) < MAX_ERRORS:
            errors.append(error)
    if not num_requests and not errors:
        raise InvalidBatchFileError(
            [_describe("empty_file", "The input file is empty. Add at least one request.", None, None)]
        )
    errors += _find_several_models(models) + _find_duplicates(path, hashes, max_line_bytes)
    if errors:
        raise InvalidBatchFileError(sorted(errors, key=lambda error: error["line"] or 0)[:MAX_ERRORS])
    return CheckedBatch(next(iter(models)), num_requests)


def read_batch_file(path: Path, *, max_line_bytes: int) -> Iterator[BatchRequest]:
    """Yield the requests of a file that was checked."""
    for line, value in _read_objects(path, max_line_bytes, None):
        yield BatchRequest(line, value["custom_id"], value["body"])


def _read_objects(
    path: Path, max_line_bytes: int, errors: list[dict[str, Any]] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON object of each line; what is none goes to `errors`, and without them is raised."""
    try:
        for line, data in read_lines(path, max_line_bytes=max_line_bytes):
            try:
                value = parse_object(line, data)
            except InvalidLineError as error:
                if errors is None:
                    raise
                if len(errors) < MAX_ERRORS:
                    errors.append(_describe("invalid_json_line", f"This line {error.reason}.", None, line))
                continue
            yield line, value
    except InvalidLineError as error:
        if errors is None:
            raise
        errors.append(_describe("invalid_json_line", f"This line {error.reason}.", None, error.number))


def _check_line(line: int, value: Mapping[str, Any], endpoint: str) -> dict[str, Any] | None:
    """Return what is wrong with a line beside its body, as the batch object has it."""
    for key in KEYS:
        if key not in value:
            return _describe("missing_required_parameter", f"Missing required parameter: '{key}'.", key, line)
    unknown = next((key for key in value if key not in KEYS), None)
    if unknown is not None:
        return _describe("unknown_parameter", f"Unknown parameter: '{unknown[:64]}'.", unknown[:64], line)
    custom_id, body = value["custom_id"], value["body"]
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARACTERS:
        message = f"'custom_id' must be a string of 1 to {MAX_ID_CHARACTERS} characters."
        return _describe("invalid_custom_id", message, "custom_id", line)
    if value["method"] != "POST":
        return _describe("invalid_method", "'method' must be POST.", "method", line)
    if value["url"] != endpoint:
        return _describe("invalid_url", f"'url' must be the endpoint of the batch, {endpoint}.", "url", line)
    if not isinstance(body, dict):
        return _describe("invalid_body", "'body' must be an object.", "body", line)
    if not isinstance(body.get("model"), str) or not body["model"]:
        return _describe("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model", line)
    return None


def _find_several_models(models: Mapping[str, int]) -> list[dict[str, Any]]:
    first, *others = models or [""]
    message = f"The requests of a batch must ask one model, and the first one asks '{first[:256]}'."
    return [_describe("mismatched_model", message, "body.model", models[name]) for name in others[:MAX_ERRORS]]


def _find_duplicates(path: Path, hashes: "array[int]", max_line_bytes: int) -> list[dict[str, Any]]:
    """Return an error for each id that came before; only ids of equal hashes are compared themselves."""
    values, counts = np.unique(np.frombuffer(hashes, np.uint64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return []
    seen, errors = Counter[str](), list[dict[str, Any]]()
    for line, value in _read_objects(path, max_line_bytes, []):
        custom_id = value.get("custom_id")
        if not isinstance(custom_id, str) or _hash_id(custom_id) not in suspects:
            continue
        if seen[custom_id] and len(errors) < MAX_ERRORS:
            message = f"The custom_id '{custom_id[:64]}' stands on an earlier line too."
            errors.append(_describe("duplicate_custom_id", message, "custom_id", line))
        seen[custom_id] += 1
    return errors


def _hash_id(custom_id: str) -> int:
    return int.from_bytes(blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _describe(code: str, message: str, param: str | None, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": line}
