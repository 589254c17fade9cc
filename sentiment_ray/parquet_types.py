"""Facts about Parquet for every reader: which types hold texts, how they are read, and what damaged files raise."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping

import psutil
import pyarrow as pa

from sentiment_ray.column_names import quote_names
from sentiment_ray.errors import first_line

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError)
"""What PyArrow raises for a damaged file, depending on where the damage is; see also `is_damage`."""
ALLOCATION = re.compile(r"size (\d+)")
STRING_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
BINARY_TYPES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
NUMBER_TYPES = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)


def get_value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary, or the type in which an extension type is stored."""
    if pa.types.is_dictionary(kind):
        return get_value_type(kind.value_type)
    return get_value_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def can_hold_texts(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold reviews: strings or bytes, also as a dictionary or in an extension type.

    A column of nulls can; each of its rows is defective. Bytes of a fixed size are keys or hashes, not texts.
    """
    kind = get_value_type(kind)
    return pa.types.is_null(kind) or holds_strings(kind)


def can_hold_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold labels: texts or numbers."""
    return can_hold_texts(kind) or any(is_type(get_value_type(kind)) for is_type in NUMBER_TYPES)


def holds_strings(kind: pa.DataType) -> bool:
    """Whether this is one of Arrow's types for strings or bytes; a dictionary of strings is not."""
    return any(is_type(kind) for is_type in STRING_TYPES + BINARY_TYPES)


def contains_strings(kind: pa.DataType) -> bool:
    """Whether values of this type hold strings or bytes, also in dictionaries, lists, structs and maps."""
    kind = get_value_type(kind)
    return holds_strings(kind) or any(contains_strings(field.type) for field in _list_child_fields(kind))


def describe_other_type(schema: pa.Schema, name: str, remedy: str, *, used: Collection[str] = ()) -> str:
    """Return that a column holds no texts, and what to do; see `suggest_text_column`."""
    kind = schema.field(name).type
    advice = explain_nested_texts(schema, name) or suggest_text_column(schema, remedy, used={*used, name})
    return f"the column {name!r} holds {kind}, not texts. {advice}"


def suggest_text_column(schema: pa.Schema, remedy: str, *, used: Collection[str] = ()) -> str:
    """Return the `remedy` with the columns that hold texts; if there are none, say so. Without a full stop at the end.

    `used` are names of columns that hold something else, such as the labels.
    """
    others = [field.name for field in schema if holds_strings(get_value_type(field.type)) and field.name not in used]
    return f"{remedy} Texts are in: {quote_names(others)}" if others else "No column holds texts. Write them as strings"


def explain_nested_texts(schema: pa.Schema, name: str) -> str | None:
    """Return how a field of a struct becomes a column, if a missing or wrong column means one; else None.

    `name` is that of a struct column or of a field, as `text` or as `review.text`. Without a full stop at the end.
    """
    fields = [field for column in schema for field in _list_nested_texts(column)]
    meant = [field for field in fields if f"{field}.".startswith(f"{name}.") or field.endswith(f".{name}")]
    if not meant:
        return None
    command = f"duckdb -c \"COPY (SELECT *, {meant[0]} AS new FROM 'FILE') TO 'NEW.parquet'\""
    return f"A field of a struct is no column: {quote_names(meant)}. Write it as a column, for example: {command}"


def _list_nested_texts(field: pa.Field, prefix: str = "") -> list[str]:
    """Return the fields of a struct that hold texts, at any depth, as `review.text`."""
    name = f"{prefix}{field.name}"
    if pa.types.is_struct(field.type):
        return [each for child in field.type for each in _list_nested_texts(child, f"{name}.")]
    return [name] if prefix and can_hold_texts(field.type) else []


def read_texts(column: pa.Array | pa.ChunkedArray) -> list[str | bytes | None]:
    """Return the values of a column that `can_hold_texts`; a value that is not UTF-8 is returned as its bytes."""
    kind = get_value_type(column.type)
    if pa.types.is_null(kind):
        return [None] * len(column)
    column = _cast_to_values(column)
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return [_decode(value) for value in column.cast(pa.large_binary()).to_pylist()]


def without_views(kind: pa.DataType) -> pa.DataType:
    """Return the type with plain strings instead of string views at any depth.

    PyArrow 26.0 cannot take or filter views. An extension type that is stored in views becomes its storage type.
    """
    return _replace_types(kind, _without_view)


def without_dictionaries(kind: pa.DataType) -> pa.DataType:
    """Return the type with the values of dictionaries instead of dictionaries, and without views, at any depth."""
    return _replace_types(kind, lambda leaf: _without_view(leaf.value_type if pa.types.is_dictionary(leaf) else leaf))


def find_common_type(kinds: Iterable[pa.DataType]) -> pa.DataType | None:
    """Return a type that all values of these types can be cast to without loss, or None if there is none.

    Nulls have every type. Of integers, decimals, times or strings it is the widest type, of a string and a dictionary
    the string. A cast raises ArrowInvalid for a value out of range, such as the year 2500 in nanoseconds.
    """
    distinct = [kind for kind in dict.fromkeys(kinds) if not pa.types.is_null(kind)]
    if len(distinct) <= 1:
        return distinct[0] if distinct else pa.null()
    plain = [_replace_types(kind, _to_plain_type) for kind in distinct]
    if len({pa.types.is_floating(kind) for kind in plain}) > 1:
        return None  # large integers and decimals would be rounded
    try:
        schemas = [pa.schema([("column", kind)]) for kind in plain]
        return pa.unify_schemas(schemas, promote_options="permissive").field("column").type
    except pa.ArrowTypeError:
        return None


def choose_type(num_rows: Mapping[pa.DataType, int]) -> pa.DataType:
    """Return the type of most rows, or a wider one that can hold the values of the other types too.

    A type that goes with no other is passed over. Of types with equally many rows the first counts as that of most.
    """
    first, *others = sorted(num_rows, key=lambda kind: (pa.types.is_null(kind), -num_rows[kind]))
    for kind in others:
        if not can_cast(kind, first):
            first = find_common_type([first, kind]) or first
    return first


def can_cast(kind: pa.DataType, target: pa.DataType) -> bool:
    """Whether a cast to `target` keeps every value or raises ArrowInvalid, as for 0.5 as an integer."""
    if kind == target or pa.types.is_null(kind) or find_common_type([kind, target]) == target:
        return True
    kind = get_value_type(kind)
    if pa.types.is_integer(kind) or pa.types.is_integer(target):
        return any(pa.types.is_floating(each) for each in (kind, target))
    return any(is_type(kind) for is_type in BINARY_TYPES) and any(is_type(target) for is_type in STRING_TYPES)


def cast_column(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Return a column in another type, also from a dictionary or to one; ArrowInvalid for a value without that type."""
    if column.type == kind:
        return column
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(kind)


def describe_damage(error: Exception) -> str:
    """Return in one line why a Parquet file cannot be read: what PyArrow says, or that the file is encrypted."""
    line = first_line(error)
    if "encrypted" in line or "decrypt" in line.lower():
        return f"it is encrypted: {line}; write it without encryption"
    return line


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is damaged, and not that this machine cannot read it now.

    Errors of the operating system have a number, PyArrow's own have none. Memory that is missing is nothing that a
    file does, unless it asks for more than the machine has in total.
    """
    if isinstance(error, MemoryError):
        asked = ALLOCATION.search(str(error))
        return asked is not None and int(asked[1]) > psutil.virtual_memory().total
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, UNREADABLE)


def _list_child_fields(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_struct(kind):
        return list(kind)
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.value_field] if pa.types.is_nested(kind) and hasattr(kind, "value_field") else []


def _cast_to_values(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    while column.type != get_value_type(column.type):
        kind = column.type
        column = column.cast(kind.value_type if pa.types.is_dictionary(kind) else kind.storage_type)
    return column


def _decode(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _without_view(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind if without_views(kind.storage_type) == kind.storage_type else without_views(kind.storage_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _to_plain_type(kind: pa.DataType) -> pa.DataType:
    return _without_view(get_value_type(kind))


def _replace_types(kind: pa.DataType, replace: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Return a type whose leaves have been replaced; names, nullability and metadata of nested fields stay."""

    def change(field: pa.Field) -> pa.Field:
        return field.with_type(_replace_types(field.type, replace))

    types = pa.types
    if types.is_struct(kind):
        return pa.struct([change(field) for field in kind])
    if types.is_map(kind):
        return pa.map_(change(kind.key_field), change(kind.item_field), keys_sorted=kind.keys_sorted)
    if types.is_fixed_size_list(kind):
        return pa.list_(change(kind.value_field), kind.list_size)
    if types.is_list(kind):
        return pa.list_(change(kind.value_field))
    if types.is_large_list(kind):
        return pa.large_list(change(kind.value_field))
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        # PyArrow 26.0 cannot cast to a list view.
        item, make = change(kind.value_field), pa.list_ if types.is_list_view(kind) else pa.large_list
        return kind if item.type == kind.value_type else make(item)
    return replace(kind)
