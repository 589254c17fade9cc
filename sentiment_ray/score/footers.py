"""Reads the footers of Parquet files in parallel tasks, with a reason for each unreadable file; reads no rows."""

import socket
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
from pyarrow import parquet
from ray.exceptions import RayError
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.errors import SentimentRayError, StorageError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.parquet_types import describe_damage
from sentiment_ray.retrying import SYSTEM_CLOCK, Clock, PassingFault, retry_passing
from sentiment_ray.store_location import open_location
from sentiment_ray.watched_file import WatchedFile, open_watched

FILES_PER_TASK = 32
MAX_PENDING_TASKS = 256
"""Enough for all cores of a large cluster. Each is known to the driver, so that it must not be all tasks."""
READ_ATTEMPTS = 4
"""Times that a footer is read before a fault ends the run."""
NO_COLUMNS = pa.schema([])


@dataclass(frozen=True)
class Footer:
    """The columns, without metadata, and the row groups of a file; with a `reason`, the file cannot be scored."""

    schema: pa.Schema
    group_rows: tuple[int, ...]
    """Number of rows of each row group."""
    reason: str | None = None


def read_footers(files: Sequence[InputFile]) -> list[Footer]:
    """Return the footer of every file, in order; for a file that crashes the process, this is the reason.

    StorageError when a fault that may pass lasts; no file is quarantined for it.
    """
    task = ray.remote(num_cpus=1, max_retries=1)(_read_several)
    # The driver has seen which names lead to no file. For a task, a missing file may be a missing mount.
    footers = {index: Footer(NO_COLUMNS, (), file.defect) for index, file in enumerate(files) if file.defect}
    good = [index for index in range(len(files)) if index not in footers]
    waiting = deque(good[start : start + FILES_PER_TASK] for start in range(0, len(good), FILES_PER_TASK))
    pending = deque[tuple[Any, list[int]]]()
    schemas: dict[pa.Schema, pa.Schema] = {}
    with tqdm(total=len(files), desc="footers", unit="file", disable=log.hide_bars(), leave=False) as bar:
        while waiting or pending:
            while waiting and len(pending) < MAX_PENDING_TASKS:
                chunk = waiting.popleft()
                pending.append((task.remote([files[index].path for index in chunk]), chunk))
            reply, chunk = pending.popleft()  # the oldest; to ask which is ready would look at all of them each time
            chunk_footers = _get_footers(reply, files[chunk[0]].path if len(chunk) == 1 else None)
            if chunk_footers is None:
                waiting.extendleft([index] for index in reversed(chunk))
                continue
            footers |= dict(zip(chunk, _share_schemas(chunk_footers, schemas), strict=True))
            bar.update(len(chunk))
    return [footers[index] for index in range(len(files))]


def _get_footers(reply: Any, only_path: str | None) -> list[Footer] | None:
    """Return what a task has read. When it crashed, None, or the reason if it read one file alone."""
    try:
        return list(ray.get(reply))
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SentimentRayError):
            raise cause from None
        if isinstance(error, ray.exceptions.OutOfMemoryError) and only_path:
            raise StorageError(
                f"{only_path}: its node has not enough memory to read the footer. No file was quarantined for this. "
                "Run the same command again when other programs use less."
            ) from None
        if not isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
            raise
        return [Footer(NO_COLUMNS, (), "reading its footer crashes the process")] if only_path else None


def _read_several(paths: list[str]) -> list[Footer]:
    """Read several footers; one schema for files with the same columns keeps the answer small."""
    return _share_schemas([read_footer(path) for path in paths], {})


def _share_schemas(footers: Sequence[Footer], schemas: dict[pa.Schema, pa.Schema]) -> list[Footer]:
    """Return the footers with one schema for all files with the same columns; `schemas` has those so far."""
    return [replace(footer, schema=schemas.setdefault(footer.schema, footer.schema)) for footer in footers]


def read_footer(path: str, clock: Clock = SYSTEM_CLOCK) -> Footer:
    """Read the footer of one file; a damaged file gets a reason and raises no error.

    A fault that may pass is no damage: the footer is read again, and at last StorageError names the file.
    """
    return retry_passing(lambda: _read_once(path), path, clock=clock, attempts=READ_ATTEMPTS)


def _read_once(path: str) -> Footer:
    fs, inner = open_location(path)
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(open_watched(fs, inner))
        except FileNotFoundError:
            raise PassingFault(
                f"it is listed and cannot be found by {socket.gethostname()}. Mount its directory on every node"
            ) from None
        try:
            return _parse_footer(handle)
        except Exception as error:
            handle.refuse_fault(error)
            return Footer(NO_COLUMNS, (), f"not a Parquet file that can be read ({describe_damage(error)})")


def _parse_footer(handle: WatchedFile) -> Footer:
    """Parse a footer; only the number of rows of each row group, because more of a damaged one can abort PyArrow."""
    with parquet.ParquetFile(handle) as file:
        schema = pa.schema([pa.field(field.name, field.type) for field in file.schema_arrow])
        metadata = file.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    if len(set(schema.names)) < len(schema.names):
        name, times = Counter(schema.names).most_common(1)[0]
        return Footer(schema, (), f"{times} of its columns have the name {name!r}; rename all but one of them")
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        return Footer(schema, (), f"its footer promises {metadata.num_rows} rows, its row groups {sum(rows)}")
    return Footer(schema, rows)
