"""What is true of Parquet wherever it is read: which types hold texts, what damage raises, what directories say."""

from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError)
"""What PyArrow raises for damaged files; which one depends on where the damage is, and what it promises."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
TEXTS = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
)  # fmt: skip


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's for strings or bytes."""
    return any(is_kind(kind) for is_kind in TEXTS)


def without_views(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose string views are strings; PyArrow has no kernel that takes or filters views (26.0)."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.schema([field.with_type(plain.get(field.type, field.type)) for field in schema], schema.metadata)


def hive_values(directories: Sequence[str]) -> dict[str, str | None]:
    """Return what directories named key=value say, as Hive, Spark and PyArrow write them: percent-encoded."""
    pairs = (name.partition("=") for name in directories)
    return {
        unquote(key): None if value == HIVE_NULL else unquote(value) for key, is_pair, value in pairs if key and is_pair
    }
