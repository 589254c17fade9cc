"""Reads the footers of Parquet files in parallel tasks and says which files cannot be scored; reads no rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from pyarrow import parquet
from ray.exceptions import RayError
from tqdm import tqdm

from sentiment_ray.errors import ConfigError
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.listing import InputFile
from sentiment_ray.storage import open_location

FILES_PER_TASK = 32
TEXT = "string"


@dataclass(frozen=True)
class RowGroup:
    """What the footer says of a row group: its rows, and the bytes of its text column when decompressed."""

    num_rows: int
    text_bytes: int


@dataclass(frozen=True)
class Footer:
    """What a file holds; with a `reason` it cannot be scored.

    `columns` maps names to Arrow types as text; every way to hold text is `string`.
    """

    columns: dict[str, str]
    row_groups: tuple[RowGroup, ...]
    reason: str | None = None


def read_footers(files: Sequence[InputFile], text_column: str) -> list[Footer]:
    """Return the footer of every file, in order; a file that ends the process that reads it gets that as its reason."""
    task = ray.remote(num_cpus=1, max_retries=1)(_read_some)
    chunks = [
        list(range(start, min(start + FILES_PER_TASK, len(files)))) for start in range(0, len(files), FILES_PER_TASK)
    ]
    pending = {task.remote([files[place].path for place in chunk], text_column): chunk for chunk in chunks}
    footers: dict[int, Footer] = {}
    with tqdm(total=len(files), desc="footers", unit="file", disable=None, leave=False) as bar:
        while pending:
            (ready,), _ = ray.wait(list(pending), num_returns=1)
            chunk = pending.pop(ready)
            try:
                found = ray.get(ready)
            except RayError as error:
                if not _is_death(error):
                    raise
                if len(chunk) > 1:
                    alone = {task.remote([files[place].path], text_column): [place] for place in chunk}
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
    allowed. ConfigError when a column of the input has the name of one that scoring adds.
    """
    contract = _contract(footers, config)
    checked = []
    for file, footer in zip(files, footers, strict=True):
        reason = footer.reason or _defect(footer.columns, contract, config)
        carried = config.columns or [
            name for name in footer.columns if not (config.drop_text and name == config.text_column)
        ]
        clash = [name for name in added if name in carried]
        if clash and not reason:
            raise ConfigError(
                f"{file.path}: column {clash[0]!r} is already there and would be written again. "
                "Leave it out with --columns, or choose other names with --prefix."
            )
        checked.append(Footer(footer.columns, footer.row_groups, reason))
    return checked


def _contract(footers: Sequence[Footer], config: ScoreConfig) -> dict[str, str]:
    """Return the columns that a file must have and their types: those that most rows have."""
    types: dict[str, Counter[str]] = {}
    total = 0
    for footer in footers:
        if footer.reason is None and footer.columns.get(config.text_column) == TEXT:
            rows = 1 + sum(group.num_rows for group in footer.row_groups)
            total += rows
            for name, kind in footer.columns.items():
                types.setdefault(name, Counter())[kind] += 0 if kind == "null" else rows
    wanted = {config.text_column, *config.columns, *([config.group_by] if config.group_by else [])}
    common = [name for name, kinds in types.items() if 2 * kinds.total() > total]
    names = wanted if config.columns else wanted | set(common)
    return {name: types[name].most_common(1)[0][0] if name in types else "" for name in sorted(names)}


def _defect(columns: dict[str, str], contract: dict[str, str], config: ScoreConfig) -> str | None:
    found = ", ".join(list(columns)[:20]) + (", …" if len(columns) > 20 else "")
    for name, kind in contract.items():
        if name not in columns:
            return f"column {name!r} is missing (found: {found}); pass --text-column or --columns with what is there"
        if name == config.text_column:
            if columns[name] != TEXT:
                return f"column {name!r} is {columns[name]}, not text; pass --text-column with another"
        elif columns[name] not in (kind, "null"):
            return f"column {name!r} is {columns[name]} here and {kind} in most files; pass --columns without it"
    return None


def _kind(kind: pa.DataType) -> str:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    return TEXT if is_text else str(kind)


def _is_death(error: Any) -> bool:
    return isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError))


def _read_some(paths: list[str], text_column: str) -> list[Footer]:
    return [read_footer(path, text_column) for path in paths]


def read_footer(path: str, text_column: str) -> Footer:
    """Read the footer of one file; what cannot be read becomes a reason, never an error."""
    try:
        fs, inner = open_location(path)
        with fs.open(inner, "rb") as handle, parquet.ParquetFile(handle) as file:
            schema, metadata = file.schema_arrow, file.metadata
            columns = {field.name: _kind(field.type) for field in schema}
            if len(columns) != len(schema):
                return Footer(columns, (), "two of its columns have the same name")
            place = _leaf(metadata, text_column)
            groups = tuple(_row_group(metadata.row_group(index), place) for index in range(metadata.num_row_groups))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return Footer({}, (), f"not a Parquet file that can be read ({line})")
    if any(group.num_rows < 0 for group in groups):
        return Footer(columns, (), "its footer names a negative number of rows")
    return Footer(columns, groups)


def _leaf(metadata: parquet.FileMetaData, column: str) -> int | None:
    names = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    return names.index(column) if column in names else None


def _row_group(group: parquet.RowGroupMetaData, place: int | None) -> RowGroup:
    return RowGroup(group.num_rows, group.column(place).total_uncompressed_size if place is not None else 0)
