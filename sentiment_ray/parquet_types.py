"""Facts about Parquet for every reader: types that hold texts, and errors of damaged files."""

import pyarrow as pa

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError)
"""What PyArrow raises for a damaged file, depending on where the damage is."""
TEXT_TYPES = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
)  # fmt: skip


def holds_texts(kind: pa.DataType) -> bool:
    """Whether this is one of Arrow's types for strings or bytes."""
    return any(is_type(kind) for is_type in TEXT_TYPES)


def without_views(schema: pa.Schema) -> pa.Schema:
    """Return the schema with plain strings instead of string views, which PyArrow 26.0 cannot take or filter."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.schema([field.with_type(plain.get(field.type, field.type)) for field in schema], schema.metadata)
