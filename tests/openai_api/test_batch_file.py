"""A batch's file is checked line by line; a wrong one is refused with the line of each fault."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.openai_api.batch_file import InvalidBatchFileError, check_batch_file, read_batch_file

CHAT = "/v1/chat/completions"
MAX_LINE_BYTES = 1 << 16


def make_line(custom_id: str, text: str = "Fine.", **changes: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | changes
    return json.dumps(line).encode() + b"\n"


def find_errors(path: Path, data: bytes, max_requests: int = 100) -> list[tuple[str, int | None]]:
    path.write_bytes(data)
    with pytest.raises(InvalidBatchFileError) as caught:
        check_batch_file(path, endpoint=CHAT, max_requests=max_requests, max_line_bytes=MAX_LINE_BYTES)
    return [(error["code"], error["line"]) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (b"", [("empty_file", None)]),
        (b"\n \n", [("empty_file", None)]),
        (make_line("a") + b"{\n" + b"[]\n", [("invalid_json_line", 2), ("invalid_json_line", 3)]),
        (make_line("a") + make_line("b") + make_line("a"), [("duplicate_custom_id", 3)]),
        (make_line("a") + make_line("b", url="/v1/embeddings"), [("invalid_url", 2)]),
        (make_line("a", method="GET"), [("invalid_method", 1)]),
        (make_line("a", body=[]), [("invalid_body", 1)]),
        (make_line("a", body={}), [("missing_required_parameter", 1)]),
        (make_line(""), [("invalid_custom_id", 1)]),
        (make_line("a", priority=1), [("unknown_parameter", 1)]),
        (b'{"custom_id": "a"}\n', [("missing_required_parameter", 1)]),
        (make_line("a") + make_line("b", body={"model": "n"}), [("mismatched_model", 2)]),
        (b"x" * (MAX_LINE_BYTES + 1), [("invalid_json_line", 1)]),
        (b"\x1f\x8b" + b"0" * 20, [("invalid_json_line", 1)]),
        (b"".join(make_line(str(number)) for number in range(101)), [("request_limit_exceeded", 101)]),
    ],
)
def test_a_wrong_file_is_refused_with_its_lines(tmp_path: Path, data: bytes, errors: list[tuple[str, int]]) -> None:
    assert find_errors(tmp_path / "batch.jsonl", data) == errors


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_bytes(make_line("a\u2028b", "x\u2028y\u0085z").replace(b"\\u2028", "\u2028".encode()) + make_line("b"))
    assert check_batch_file(path, endpoint=CHAT, max_requests=9, max_line_bytes=MAX_LINE_BYTES).num_requests == 2
    assert [request.custom_id for request in read_batch_file(path, max_line_bytes=MAX_LINE_BYTES)] == ["a\u2028b", "b"]


def test_many_requests_are_checked_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    with path.open("wb") as file:
        file.writelines(make_line(f"request-{number}", "word " * 40) for number in range(20_000))
    tracemalloc.start()
    checked = check_batch_file(path, endpoint=CHAT, max_requests=20_000, max_line_bytes=MAX_LINE_BYTES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (checked.num_requests, checked.model) == (20_000, "m")
    assert peak < 2 << 20 < path.stat().st_size / 2
