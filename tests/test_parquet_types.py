"""Which columns hold texts, how they are read, and which types of several files go together."""

from typing import Any

import pyarrow as pa
import pytest

from sentiment_ray.parquet_types import (
    can_cast,
    can_hold_labels,
    can_hold_texts,
    cast_column,
    choose_type,
    describe_damage,
    describe_other_type,
    find_common_type,
    read_texts,
    without_views,
)

VIEW = pa.string_view()
CATEGORY = pa.dictionary(pa.int8(), pa.string())


def _json(values: list[str | None], storage: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.json_(storage), pa.array(values, storage))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), VIEW, pa.binary(), pa.large_binary(), pa.binary_view(), CATEGORY,
        pa.dictionary(pa.int32(), pa.large_string()), pa.dictionary(pa.int16(), pa.binary()),
    ],
    ids=str,
)  # fmt: skip
def test_strings_and_bytes_of_every_kind_are_texts(kind: pa.DataType) -> None:
    column = pa.array(["good", "", None]).cast(kind)
    assert can_hold_texts(kind)
    assert read_texts(column) == ["good", "", None]
    assert read_texts(pa.chunked_array([column, column[:1]])) == ["good", "", None, "good"]
    assert read_texts(column[:0]) == []


def test_texts_in_an_extension_type_and_nulls_are_read() -> None:
    for storage in (pa.string(), VIEW):
        assert can_hold_texts(pa.json_(storage))
        assert read_texts(_json(["{}", None], storage)) == ["{}", None]
    assert read_texts(pa.nulls(2)) == [None, None]


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("kind", [pa.binary(), pa.string()], ids=str)
def test_a_value_that_is_not_utf8_stays_bytes_and_the_others_are_texts(kind: pa.DataType, encode: bool) -> None:
    column = pa.array([b"caf\xe9", b"tea", None]).view(kind)
    assert read_texts(column.dictionary_encode() if encode else column) == [b"caf\xe9", "tea", None]


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.binary(4), pa.list_(pa.string()), pa.struct([("a", pa.string())]), pa.uuid()], ids=str
)
def test_numbers_lists_and_bytes_of_a_fixed_size_are_no_texts(kind: pa.DataType) -> None:
    assert not can_hold_texts(kind)
    assert not can_hold_texts(pa.dictionary(pa.int8(), kind))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.uint64(), True), (pa.float16(), True), (pa.bool_(), True), (pa.decimal128(38, 2), True), (pa.null(), True),
        (pa.dictionary(pa.int8(), pa.int64()), True), (CATEGORY, True), (pa.timestamp("ns"), False),
        (pa.list_(pa.int8()), False), (pa.date32(), False),
    ],
    ids=str,
)  # fmt: skip
def test_labels_are_texts_or_numbers(kind: pa.DataType, expected: bool) -> None:
    assert can_hold_labels(kind) is expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.struct([("a", VIEW), ("b", pa.int8())]), {"a": "x", "b": 1}),
        (pa.list_(VIEW), ["x", None]),
        (pa.list_(pa.binary_view(), 1), [b"x"]),
        (pa.map_(VIEW, pa.list_(VIEW)), [("k", ["v"])]),
        (pa.large_list(pa.struct([("m", pa.map_(pa.string(), pa.binary_view()))])), [{"m": [("k", b"v")]}]),
        (pa.list_view(VIEW), ["x"]),
    ],
    ids=str,
)
def test_views_at_any_depth_become_strings_that_rows_can_be_taken_from(kind: pa.DataType, value: Any) -> None:
    column = pa.array([value, None], kind)
    plain = without_views(kind)
    assert "view" not in str(plain).replace("list_view", "")
    assert cast_column(column, plain).filter(pa.array([True, False])).to_pylist() == [value]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([pa.int32(), pa.int64(), pa.null()], pa.int64()),
        ([pa.string(), pa.large_string()], pa.large_string()),
        ([CATEGORY, pa.string()], pa.string()),
        ([CATEGORY, pa.null()], CATEGORY),
        ([pa.timestamp("us"), pa.timestamp("ns")], pa.timestamp("ns")),
        ([pa.decimal128(5, 2), pa.decimal128(9, 4)], pa.decimal128(9, 4)),
        ([pa.list_(pa.null()), pa.list_(VIEW)], pa.list_(pa.large_string())),
        ([pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int64()), ("b", VIEW)])],
         pa.struct([("a", pa.int64()), ("b", pa.large_string())])),
        ([pa.int64(), pa.float64()], None),
        ([pa.decimal128(5, 2), pa.float64()], None),
        ([pa.string(), pa.int64()], None),
        ([pa.timestamp("us"), pa.timestamp("us", "UTC")], None),
        ([], pa.null()),
    ],
)  # fmt: skip
def test_the_common_type_loses_nothing(kinds: list[pa.DataType], expected: pa.DataType | None) -> None:
    assert find_common_type(kinds) == expected


@pytest.mark.parametrize(
    ("num_rows", "expected"),
    [
        ({pa.int32(): 9, pa.int64(): 1}, pa.int64()),
        ({pa.int64(): 9, pa.float64(): 1}, pa.int64()),
        ({pa.int64(): 1, pa.float64(): 9}, pa.float64()),
        ({pa.string(): 9, pa.binary(): 1}, pa.string()),
        ({pa.null(): 9, pa.string(): 1}, pa.string()),
        ({pa.int64(): 9, pa.string(): 1, pa.uint64(): 1}, pa.int64()),
        ({pa.string(): 1, pa.int64(): 1}, pa.string()),
    ],
)
def test_the_type_of_most_rows_is_chosen_and_widened(num_rows: dict[pa.DataType, int], expected: pa.DataType) -> None:
    assert choose_type(num_rows) == expected


def test_a_cast_keeps_every_value_or_fails() -> None:
    assert can_cast(pa.float64(), pa.int64())
    assert cast_column(pa.array([3.0, None]), pa.int64()).to_pylist() == [3, None]
    for column, kind in ((pa.array([0.5]), pa.int64()), (pa.array([2**53 + 1]), pa.float64()),
                         (pa.array([b"\xff"]), pa.string())):  # fmt: skip
        assert can_cast(column.type, kind)
        with pytest.raises(pa.ArrowInvalid):
            cast_column(column, kind)
    assert not can_cast(pa.string(), pa.int64())
    assert not can_cast(pa.decimal128(5, 2), pa.float64())
    assert cast_column(pa.nulls(2), CATEGORY).type == CATEGORY


def test_a_column_of_another_type_is_named_with_the_columns_that_hold_texts() -> None:
    schema = pa.schema([("text ", pa.int8()), ("body", VIEW), ("label", pa.string())])
    expected = "the column 'text ' holds int8, not texts. Pass --text-column. Texts are in: 'body'"
    assert describe_other_type(schema, "text ", "Pass --text-column.", used=["label"]) == expected
    assert describe_other_type(schema, "text ", "Pass it.", used=["label", "body"]).endswith(
        "not texts. No column holds texts. Write them as strings"
    )


def test_an_encrypted_file_is_called_encrypted() -> None:
    error = OSError("Could not read encrypted metadata, no decryption found in reader's properties.\nMore.")
    assert describe_damage(error).startswith("it is encrypted: Could not read encrypted metadata")
    assert describe_damage(OSError("Couldn't deserialize thrift")) == "Couldn't deserialize thrift"
    assert describe_damage(MemoryError()) == "MemoryError"
