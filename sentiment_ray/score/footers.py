"""Reads the footers of Parquet files in parallel tasks and says which files cannot be scored; reads no rows."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from pyarrow import parquet
from ray.exceptions import RayError
from tqdm import tqdm

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.parquet_types import UNREADABLE
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.listing import InputFile
from sentiment_ray.storage import is_local, open_location

FILES_PER_TASK = 32
REMOTE_ATTEMPTS = 3
TEXT = "string"


@dataclass(frozen=True)
class Footer:
    """What a file holds; with a `reason` it cannot be scored.

    `columns` maps names to Arrow types as text, every way to hold text being `string`; `group_rows` holds the rows of
    each row group.
    """

    columns: dict[str, str]
    group_rows: tuple[int, ...]
    reason: str | None = None


def read_footers(files: Sequence[InputFile]) -> list[Footer]:
    """Return the footer of every file, in order; a file that ends the process that reads it gets that as its reason."""
    task = ray.remote(num_cpus=1, max_retries=1)(_read_some)
    chunks = [
        list(range(start, min(start + FILES_PER_TASK, len(files)))) for start in range(0, len(files), FILES_PER_TASK)
    ]
    pending = {task.remote([files[place].path for place in chunk]): chunk for chunk in chunks}
    footers: dict[int, Footer] = {}
    with tqdm(total=len(files), desc="footers", unit="file", disable=None, leave=False) as bar:
        while pending:
            (ready,), _ = ray.wait(list(pending), num_returns=1)
            chunk = pending.pop(ready)
            try:
                found = ray.get(ready)
            except RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, DataError):
                    raise cause from None
                if not _is_death(error):
                    raise
                if len(chunk) > 1:
                    alone = {task.remote([files[place].path]): [place] for place in chunk}
                    pending |= alone
                    continue
                found = [Footer({}, (), "reading its footer ends the process that does")]
            footers |= dict(zip(chunk, found, strict=True))
            bar.update(len(chunk))
    return [footers[place] for place in range(len(files))]


def check_schemas(
    files: Sequence[InputFile], footers: Sequence[Footer], config: ScoreConfig, added: Sequence[str]
) -> list[Footer]:
    """Return the footers, those of files that break the contract with a reason.

    The contract is the text column, the columns that are asked for and, when none are, every column that most rows
    have, each with the type that most rows have. A column that is only nulls, or one more than the contract, is
    allowed. ConfigError when a column of the contract has the name of one that scoring adds.
    """
    contract = _contract(footers, config)
    clash = [name for name in added if name in (config.columns or contract)]
    if clash:
        raise ConfigError(
            f"{files[0].path}: column {clash[0]!r} is already there and would be written again. "
            "Leave it out with --columns, or choose other names with --prefix."
        )
    kind = contract.get(config.group_by or "", "")
    if kind.startswith(("list", "large_list", "fixed_size_list", "struct", "map", "halffloat", "extension")):
        raise ConfigError(f"group_by = {config.group_by!r}: the column is {kind}, by which no rows can be grouped.")
    return [
        Footer(footer.columns, footer.group_rows, footer.reason or _defect(footer.columns, contract, config, added))
        for footer in footers
    ]


def _contract(footers: Sequence[Footer], config: ScoreConfig) -> dict[str, str]:
    """Return the columns that a file must have and their types: those that most rows have."""
    types: dict[str, Counter[str]] = {}
    total = 0
    for footer in footers:
        if footer.reason is None and all(footer.columns.get(name) == TEXT for name in config.text_column):
            rows = 1 + sum(footer.group_rows)
            total += rows
            for name, kind in footer.columns.items():
                types.setdefault(name, Counter())[kind] += 0 if kind == "null" else rows
    wanted = {*config.text_column, *config.columns, *([config.group_by] if config.group_by else [])}
    common = [name for name, kinds in types.items() if 2 * kinds.total() > total]
    names = wanted if config.columns else wanted | set(common)
    return {name: types[name].most_common(1)[0][0] if name in types else "" for name in sorted(names)}


def _defect(columns: dict[str, str], contract: dict[str, str], config: ScoreConfig, added: Sequence[str]) -> str | None:
    found = ", ".join(list(columns)[:20]) + (", …" if len(columns) > 20 else "")
    for name, kind in contract.items():
        if name not in columns:
            return f"column {name!r} is missing (found: {found}); pass --text-column or --columns with what is there"
        if name in config.text_column:
            if columns[name] != TEXT:
                return f"column {name!r} is {columns[name]}, not text; pass --text-column with another"
        elif columns[name] not in (kind, "null"):
            return f"column {name!r} is {columns[name]} here and {kind} in most files; pass --columns without it"
    clash = [name for name in added if name in columns and not config.columns]
    return f"column {clash[0]!r} is there and would be written again; choose another --prefix" if clash else None


def _kind(kind: pa.DataType) -> str:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    value = value.storage_type if isinstance(value, pa.BaseExtensionType) else value
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    return TEXT if is_text else str(kind)


def _is_death(error: Any) -> bool:
    return isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError))


def _read_some(paths: list[str]) -> list[Footer]:
    return [read_footer(path) for path in paths]


def read_footer(path: str) -> Footer:
    """Read the footer of one file; what cannot be read becomes a reason, never an error.

    On an object store it is read again before it counts as broken, and DataError is raised when it cannot be reached:
    a failing network must not set files aside.
    """
    fs, inner = open_location(path)
    if is_local(fs) and not os.path.isfile(inner):
        return Footer({}, (), "not a file, or a link to nothing")
    reason = ""
    for attempt in range(1 if is_local(fs) else REMOTE_ATTEMPTS):
        time.sleep(attempt)
        try:
            return _parse_footer(fs, inner)
        except Exception as error:
            if is_local(fs) and not isinstance(error, UNREADABLE):
                raise
            reason = f"not a Parquet file that can be read ({first_line(error)})"
    if not is_local(fs):
        _refuse_unreachable(fs, inner, path)
    return Footer({}, (), reason)


def _refuse_unreachable(fs: Any, inner: str, path: str) -> None:
    try:
        fs.info(inner)
    except Exception as error:  # every store's library has errors of its own for a network that fails
        raise DataError(
            f"{path} cannot be reached ({type(error).__name__}: {first_line(error)}). "
            "Nothing was set aside. Give the same command again when the store answers."
        ) from None


def _parse_footer(fs: Any, path: str) -> Footer:
    """Return what a footer says; of a row group only its rows, for what a damaged one says of columns can abort."""
    with fs.open(path, "rb") as handle, parquet.ParquetFile(handle) as file:
        schema, metadata = file.schema_arrow, file.metadata
        columns = {field.name: _kind(field.type) for field in schema}
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    if len(columns) != len(schema):
        return Footer(columns, (), "two of its columns have the same name")
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        return Footer(columns, (), f"its footer promises {metadata.num_rows} rows, its row groups {sum(rows)}")
    return Footer(columns, rows)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
