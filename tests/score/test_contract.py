"""Files of one corpus may have different types where one type holds all values; others are named with a remedy."""

from typing import Any

import pyarrow as pa
import pytest

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.contract import CheckedFiles, check_schemas
from sentiment_ray.score.footers import Footer

TEXT, ID = pa.string(), pa.int64()
Columns = dict[str, pa.DataType]


def _check(*files: tuple[Columns, int], names: tuple[str, ...] = (), **keys: Any) -> CheckedFiles:
    config = ScoreConfig(**{"bundle": "bundle", "input": "reviews", "output": "scores"} | keys)
    paths = names or tuple(f"{index}.parquet" for index in range(len(files)))
    footers = [Footer(pa.schema(list(columns.items())), (rows,)) for columns, rows in files]
    return check_schemas(
        [InputFile(f"/in/{path}", path, 1, "1") for path in paths], footers, config, ["sentiment_label"]
    )


def _reasons(*files: tuple[Columns, int], **keys: Any) -> list[str | None]:
    return [footer.reason for footer in _check(*files, **keys).footers]


def _types(*files: tuple[Columns, int], **keys: Any) -> Columns:
    types = _check(*files, **keys).types
    return dict(zip(types.names, types.types, strict=True))


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view(), pa.dictionary(pa.int8(), TEXT),
        pa.dictionary(pa.int8(), pa.binary()), pa.json_(), pa.null(),
    ],
    ids=str,
)  # fmt: skip
def test_texts_may_have_another_type_in_each_file(kind: pa.DataType) -> None:
    files = ({"text": TEXT, "id": ID}, 9), ({"text": kind, "id": ID}, 2)
    assert _reasons(*files) == [None, None]
    assert _types(*files)["text"] in (TEXT, pa.large_string())


@pytest.mark.parametrize(
    "columns", [{"text": pa.null(), "id": ID}, {"id": ID}, {}, {"text": pa.float64(), "id": TEXT}], ids=str
)
def test_a_file_without_rows_keeps_every_contract(columns: Columns) -> None:
    good = {"text": TEXT, "id": ID}
    assert _reasons((columns, 0), (good, 4), (good, 4)) == [None] * 3
    assert _reasons((columns, 0)) == [None]
    assert _types((columns, 0), (good, 4)) == {name: good[name] for name in columns if columns[name] != good[name]}


def test_files_with_equal_columns_need_no_types() -> None:
    category = pa.dictionary(pa.int8(), TEXT)
    files = ({"text": pa.binary(), "id": category}, 3), ({"id": category, "text": pa.binary()}, 4)
    assert _reasons(*files) == [None, None]
    assert _types(*files) == {}


def test_other_columns_are_widened_and_a_file_that_does_not_fit_is_named() -> None:
    good = ({"text": TEXT, "id": ID, "day": pa.timestamp("us")}, 9)
    wide = ({"day": pa.timestamp("ns"), "id": pa.int32(), "text": TEXT}, 1)
    floating = ({"text": TEXT, "id": pa.float64(), "day": pa.null()}, 1)
    texts = ({"text": TEXT, "id": TEXT, "day": pa.timestamp("us")}, 1)
    assert _types(good, wide, floating) == {"id": ID, "day": pa.timestamp("ns")}
    assert _reasons(good, wide, floating, texts) == [
        *[None] * 3,
        "the column 'id' is string here and int64 in most files. Write it with one type, or list all other columns in "
        "--columns",
    ]
    assert _reasons(good, texts, columns="text,id")[1].endswith("or leave it out of --columns")
    assert _reasons(good, texts, columns="text") == [None, None]


def test_the_remedy_names_columns_that_exist() -> None:
    good = ({"text": TEXT, "id": ID}, 9)
    reasons = _reasons(
        good,
        ({"text": pa.int8(), "body": TEXT, "id": ID}, 1),
        ({"text": pa.int8(), "id": ID}, 1),
        ({"id": ID, "body ": TEXT}, 1),
        ({"id": ID}, 1),
        ({"text": TEXT, "Id": ID}, 1),
    )
    assert reasons == [
        None,
        "the column 'text' holds int8, not texts. Pass --text-column. Texts are in: 'body'",
        "the column 'text' holds int8, not texts. No column holds texts. Write them as strings",
        "the column 'text' is missing (found: 'id', 'body '). Pass --text-column. Texts are in: 'body '",
        "the column 'text' is missing (found: 'id'). No column holds texts. Write them as strings",
        "the column 'id' is missing (found: 'text', 'Id'). Did you mean 'Id'? List all other columns in --columns",
    ]


def test_a_name_may_be_padded_in_some_files() -> None:
    files = ({"text ": TEXT, "id": ID}, 4), ({"text": pa.large_string(), " id": pa.int32()}, 2)
    assert _reasons(*files, columns="text,id", group_by="id") == [None, None]
    assert _types(*files, columns="text,id") == {"text": pa.large_string(), "id": ID}


def test_columns_of_the_path_need_not_be_in_the_files() -> None:
    files, names = [({"text": TEXT}, 3)] * 2, ("year=2024/a.parquet", "year=2025/a.parquet")
    assert _reasons(*files, names=names, columns="text,year", group_by="year") == [None, None]
    assert "the column 'year' is missing" in (
        _reasons(*files, names=("year=2024/a.parquet", "b.parquet"), group_by="year")[1] or ""
    )
    files = (({"id": ID}, 3), ({"text": TEXT}, 3))
    assert "the column 'text' is missing" in (_reasons(*files, names=("text=good/a.parquet", "b.parquet"))[0] or "")


def test_a_text_column_that_no_file_with_rows_has_ends_the_run() -> None:
    with pytest.raises(
        DataError, match=r"/in/0\.parquet: the column 'text' is missing .* None of 3 files can be scored"
    ):
        _check(({"id": ID}, 3), ({"words": TEXT}, 5), ({"text": TEXT}, 0))
    assert _reasons(({"id": ID}, 3), ({"text": TEXT}, 1))[1] is None


def test_a_column_that_scoring_adds_is_refused_in_a_file_without_rows_too() -> None:
    with pytest.raises(ConfigError, match=r"/in/0.parquet: column 'sentiment_label' already exists"):
        _check(({"text": TEXT, "sentiment_label": TEXT}, 3))
    reasons = _reasons(({"text": TEXT}, 9), ({"text": TEXT, "sentiment_label": TEXT}, 0))
    assert (
        reasons[1]
        == "the column 'sentiment_label' already exists, and scoring would add it again. Choose another --prefix"
    )
