"""Turns the requests of a batch into Parquet, and their scores into answers; in the order of the input file.

Both ways a piece at a time: neither the requests nor the answers are ever in memory together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.atomic_files import place_file
from sentiment_ray.openai_api.answer import ScoresRow
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.batch_endpoints import BatchEndpoint, read_request
from sentiment_ray.openai_api.batch_file import BatchRequest
from sentiment_ray.openai_api.chat_answer import list_notices
from sentiment_ray.openai_api.ids import make_answer_id
from sentiment_ray.openai_api.model_answers import ModelAnswers

ROWS_PER_GROUP = 10_000
SCHEMA = pa.schema([("line", pa.int64()), ("text", pa.string())])
NUM_COLUMNS_BEFORE = 3
"""Columns of a part before the probabilities: line, label, score."""
NOT_SCORED = "The text of the request cannot be scored."


@dataclass(frozen=True)
class BatchModel:
    """How the requests of a batch are read and answered."""

    endpoint: BatchEndpoint
    answers: ModelAnswers
    unknown_system_message: Literal["notice", "refuse"]

    def read(self, request: BatchRequest) -> Any:
        """Return a request as its endpoint reads it; ApiError when it is wrong, each time the same."""
        asked = read_request(self.endpoint, request.body)
        rule, param = self.unknown_system_message, self.endpoint.param
        list_notices(asked.conversation, self.answers, unknown_system_message=rule, param=param)
        return asked


def write_requests(requests: Iterator[BatchRequest], model: BatchModel, path: Path) -> int:
    """Write the texts of the requests that are not wrong as Parquet; return their number."""
    temporary, num_rows = path.with_name(f".{path.name}.new"), 0
    with parquet.ParquetWriter(temporary, SCHEMA) as writer:
        for rows in _group(_read_texts(requests, model)):
            lines, texts = zip(*rows, strict=True)
            writer.write_table(pa.table([pa.array(lines, pa.int64()), pa.array(texts, pa.string())], schema=SCHEMA))
            num_rows += len(rows)
    place_file(temporary, path)
    return num_rows


def write_answers(
    requests: Iterator[BatchRequest], model: BatchModel, scores: Path | None, output: Path, errors: Path
) -> tuple[int, int]:
    """Write a line for each request to one of two files; return how many are in each.

    `scores` is the directory of the scores; None when no request had a text to score.
    """
    counts = {True: 0, False: 0}
    paths = {True: output, False: errors}
    temporary = {is_good: path.with_name(f".{path.name}.new") for is_good, path in paths.items()}
    rows = _read_scores(scores) if scores else iter(())
    waiting = next(rows, None)
    with temporary[True].open("wb") as good, temporary[False].open("wb") as bad:
        files: dict[bool, BinaryIO] = {True: good, False: bad}
        for request in requests:
            row = None
            if waiting is not None and waiting[0] == request.line:
                row, waiting = waiting[1], next(rows, None)
            status, body = _answer(request, model, row)
            files[status == 200].write(_format_line(request, status, body))
            counts[status == 200] += 1
    if waiting is not None:
        raise RuntimeError("the scores of a batch are not in the order of its requests")
    for is_good, path in paths.items():
        place_file(temporary[is_good], path)
    return counts[True], counts[False]


def _answer(request: BatchRequest, model: BatchModel, row: ScoresRow | None) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the answer to a request."""
    try:
        asked = model.read(request)
        if row is None:
            raise ApiError(400, NOT_SCORED, param=model.endpoint.param, code="invalid_text")
        return 200, model.endpoint.answer(asked, row, model.answers)
    except ApiError as error:
        return error.status, error.make_body()


def _format_line(request: BatchRequest, status: int, body: dict[str, Any]) -> bytes:
    line = {
        "id": make_answer_id("batch_req_"),
        "custom_id": request.custom_id,
        "response": {"status_code": status, "request_id": make_answer_id("req_"), "body": body},
        "error": None,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _read_texts(requests: Iterator[BatchRequest], model: BatchModel) -> Iterator[tuple[int, str]]:
    for request in requests:
        try:
            yield request.line, model.read(request).conversation.text
        except ApiError:  # it is answered with this error at the end
            continue


def _group(rows: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    group: list[tuple[int, str]] = []
    for row in rows:
        group.append(row)
        if len(group) == ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


def _read_scores(scores: Path) -> Iterator[tuple[int, ScoresRow]]:
    """Yield the line of each request that was scored, and its scores, in the order of the lines."""
    for part in sorted(scores.glob("*.parquet")):
        with parquet.ParquetFile(part) as file:
            for batch in file.iter_batches(ROWS_PER_GROUP):
                columns = [column.to_pylist() for column in batch.columns]
                lines, tokens = columns[0], columns[-2]
                probabilities = zip(*columns[NUM_COLUMNS_BEFORE:-2], strict=True)
                for line, row, num_tokens in zip(lines, probabilities, tokens, strict=True):
                    yield line, ScoresRow(row, num_tokens)
