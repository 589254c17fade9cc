"""Reads the footers of Parquet files in parallel tasks, with a reason for each unreadable file; reads no rows."""

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
from pyarrow import parquet
from ray.exceptions import RayError
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.errors import DataError, first_line
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.input_files.tree import describe_defect
from sentiment_ray.parquet_types import UNREADABLE, describe_damage
from sentiment_ray.storage import is_local, open_location

FILES_PER_TASK = 32
MAX_PENDING_TASKS = 256
"""Each wait looks at all of them, so that with many files it must not be all tasks."""
REMOTE_ATTEMPTS = 3
NO_COLUMNS = pa.schema([])


@dataclass(frozen=True)
class Footer:
    """The columns, without metadata, and the row groups of a file; with a `reason`, the file cannot be scored."""

    schema: pa.Schema
    group_rows: tuple[int, ...]
    """Number of rows of each row group."""
    reason: str | None = None


def read_footers(files: Sequence[InputFile]) -> list[Footer]:
    """Return the footer of every file, in order; for a file that crashes the process, this is the reason."""
    task = ray.remote(num_cpus=1, max_retries=1)(_read_several)
    chunks = [
        list(range(start, min(start + FILES_PER_TASK, len(files)))) for start in range(0, len(files), FILES_PER_TASK)
    ]
    waiting, pending = deque(chunks), dict[Any, list[int]]()
    footers: dict[int, Footer] = {}
    with tqdm(total=len(files), desc="footers", unit="file", disable=log.hide_bars(), leave=False) as bar:
        while waiting or pending:
            while waiting and len(pending) < MAX_PENDING_TASKS:
                chunk = waiting.popleft()
                pending[task.remote([files[index].path for index in chunk])] = chunk
            (ready,), _ = ray.wait(list(pending), num_returns=1)
            chunk = pending.pop(ready)
            try:
                chunk_footers = ray.get(ready)
            except RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, DataError):
                    raise cause from None
                if not _is_crash(error):
                    raise
                if len(chunk) > 1:
                    waiting.extendleft([index] for index in reversed(chunk))
                    continue
                chunk_footers = [Footer(NO_COLUMNS, (), "reading its footer crashes the process")]
            footers |= dict(zip(chunk, chunk_footers, strict=True))
            bar.update(len(chunk))
    return [footers[index] for index in range(len(files))]


def _is_crash(error: Any) -> bool:
    return isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError))


def _read_several(paths: list[str]) -> list[Footer]:
    """Read several footers; files with the same columns share one schema, which keeps the answer small."""
    footers = [read_footer(path) for path in paths]
    schemas: dict[pa.Schema, pa.Schema] = {}
    return [replace(footer, schema=schemas.setdefault(footer.schema, footer.schema)) for footer in footers]


def read_footer(path: str) -> Footer:
    """Read the footer of one file; a broken file gets a reason and raises no error.

    On an object store the footer is read several times before the file counts as broken. DataError when the store
    does not answer, because a failing network must not put files into quarantine.
    """
    fs, inner = open_location(path)
    if is_local(fs) and not os.path.isfile(inner):
        return Footer(NO_COLUMNS, (), describe_defect(inner))
    reason = ""
    for attempt in range(1 if is_local(fs) else REMOTE_ATTEMPTS):
        time.sleep(attempt)
        try:
            return _parse_footer(fs, inner)
        except Exception as error:
            if is_local(fs) and not isinstance(error, UNREADABLE):
                raise
            reason = f"not a Parquet file that can be read ({describe_damage(error)})"
    if not is_local(fs):
        _refuse_unreachable(fs, inner, path)
    return Footer(NO_COLUMNS, (), reason)


def _refuse_unreachable(fs: Any, inner: str, path: str) -> None:
    try:
        fs.info(inner)
    except Exception as error:  # the library of every store has its own errors for a failing network
        raise DataError(
            f"{path} cannot be reached ({type(error).__name__}: {first_line(error)}). "
            "No file was quarantined. Run the same command again when the store answers."
        ) from None


def _parse_footer(fs: Any, path: str) -> Footer:
    """Parse a footer; only the number of rows of each row group, because more of a damaged one can abort PyArrow."""
    with fs.open(path, "rb") as handle, parquet.ParquetFile(handle) as file:
        schema = pa.schema([pa.field(field.name, field.type) for field in file.schema_arrow])
        metadata = file.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    if len(set(schema.names)) < len(schema.names):
        name, times = Counter(schema.names).most_common(1)[0]
        return Footer(schema, (), f"{times} of its columns have the name {name!r}; rename all but one of them")
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        return Footer(schema, (), f"its footer promises {metadata.num_rows} rows, its row groups {sum(rows)}")
    return Footer(schema, rows)
