"""Reads rows out of Parquet files, one row group at a time; knows Arrow's types, not labels."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiment_ray.data.config import Source
from sentiment_ray.data.units import Row, Unit
from sentiment_ray.errors import DataError

BATCH_ROWS = 10_000
BATCH_BYTES = 32 << 20
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def read_row_group(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of one row group; DataError naming file and row group when its pages cannot be read."""
    names = [name for name in (source.id_column, source.text_column, source.label_column, source.key_column) if name]
    try:
        with pq.ParquetFile(unit.path) as file:
            group = file.metadata.row_group(unit.row_group)
            # A row group of few, huge rows is read in smaller steps.
            fitting = BATCH_BYTES * group.num_rows // max(1, unit.size_bytes)
            batches = file.iter_batches(
                batch_size=max(1, min(BATCH_ROWS, fitting)),
                row_groups=[unit.row_group],
                columns=list(dict.fromkeys(names)),
                use_threads=False,
            )
            number = unit.first_row
            for batch in batches:
                ids = _values(batch[source.id_column]) if source.id_column else [None] * len(batch)
                texts, labels = _values(batch[source.text_column]), _values(batch[source.label_column])
                keys = _values(_moments(batch[source.key_column])) if source.key_column else [None] * len(batch)
                yield from map(Row, range(number, number + len(batch)), ids, texts, labels, keys)
                number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{unit.path}: row group {unit.row_group} cannot be read ({_first_line(error)}). "
            "Restore the file, or leave it out."
        ) from error


def columns_of_parquet(path: Path) -> list[str]:
    """Return the names of the top columns; DataError when the footer cannot be read."""
    return list(_footer(path).schema.to_arrow_schema().names)


def row_groups(path: Path, *, columns: list[str]) -> list[tuple[int, int, int]]:
    """Return number, first row and uncompressed bytes (of the given columns) of each row group that has rows."""
    footer = _footer(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    starts = accumulate((group.num_rows for group in groups), initial=0)
    return [
        (number, start, _bytes_of(group, columns))
        for number, (group, start) in enumerate(zip(groups, starts, strict=False))
        if group.num_rows
    ]


def _footer(path: Path) -> Any:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a Parquet file that can be read ({_first_line(error)}). Restore the file, or leave it out."
        ) from error


def _bytes_of(group: Any, columns: list[str]) -> int:
    chunks = (group.column(index) for index in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)


def _moments(column: pa.Array) -> pa.Array:
    """Return dates and times as ISO 8601 strings, other columns as they are."""
    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        return column
    moments = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
    return pc.strftime(moments.cast(pa.timestamp("us", "UTC")), format="%Y-%m-%dT%H:%M:%S+00:00")


def _values(column: pa.Array) -> list[Any]:
    """Return a column's values: what is not UTF-8 with lone surrogates, and () for each of an unusable type."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.dictionary_decode()
    if any(is_kind(kind) for is_kind in NUMBERS):
        return list(column.to_pylist())
    if not any(is_kind(kind) for is_kind in TEXTS):
        return [None if is_null else () for is_null in pc.is_null(column).to_pylist()]
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode(errors="surrogateescape") for value in raw]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
