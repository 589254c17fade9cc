"""Defines the columns of a part: those kept from the input and those that scoring adds; scores nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.column_names import resolve_column
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.score.config import ScoreConfig

PLAN_KEY = b"sentiment_ray.plan"
"""Key of the plan's fingerprint in the metadata of a part."""
QUARANTINE_SCHEMA = pa.schema(
    [("path", pa.string()), ("row", pa.int64()), ("rows", pa.int64()), ("reason", pa.string())]
)
"""One row that cannot be scored, or `rows` neighbouring rows from `row` on. A null `row` means the whole file."""


def list_added_fields(config: ScoreConfig, labels: Sequence[str]) -> list[pa.Field]:
    """Return the fields that scoring adds, in order."""
    each = [(label, pa.float32()) for label in labels] if config.probabilities else []
    fields = [("label", pa.string()), ("score", pa.float32()), *each, ("tokens", pa.int32()), ("truncated", pa.bool_())]
    return [pa.field(config.prefix + name, kind) for name, kind in fields]


def make_added_columns(config: ScoreConfig, labels: Sequence[str], scores: Scores) -> list[pa.Array]:
    """Return the columns that `list_added_fields` names, in its order."""
    score = scores.probabilities[np.arange(len(scores.label_ids)), scores.label_ids]
    names = pa.DictionaryArray.from_arrays(pa.array(scores.label_ids, pa.int16()), pa.array(labels, pa.string()))
    each = [pa.array(column, pa.float32()) for column in scores.probabilities.T] if config.probabilities else []
    return [
        names.cast(pa.string()),
        pa.array(score, pa.float32()),
        *each,
        pa.array(scores.tokens, pa.int32()),
        pa.array(scores.truncated, pa.bool_()),
    ]


def make_quarantine_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows of QUARANTINE_SCHEMA as a table; bytes of a file name that are not UTF-8 become question marks."""
    valid = [row | {key: row[key].encode("utf-8", "replace").decode() for key in ("path", "reason")} for row in rows]
    return pa.Table.from_pylist(valid, schema=QUARANTINE_SCHEMA)


def resolve_names(config: ScoreConfig, schema: pa.Schema) -> ScoreConfig:
    """Return the configuration with the names that its columns have in a file, which may be padded with blanks.

    A name without a column stays: only the path has it, or the file has no rows.
    """

    def resolve(name: str) -> str:
        return resolve_column(name, schema.names) or name

    changes = {"text_column": tuple(map(resolve, config.text_column)), "columns": tuple(map(resolve, config.columns))}
    return config.model_copy(update=changes | {"group_by": config.group_by and resolve(config.group_by)})


def list_kept_names(config: ScoreConfig, schema: pa.Schema) -> list[str]:
    """Return the names of the columns of a file that go into the output; what only its path gives stays in the path."""
    names = [name for name in config.columns if name in schema.names] if config.columns else schema.names
    return [name for name in names if not (config.drop_text and name in config.text_column)]


def set_types(schema: pa.Schema, types: pa.Schema) -> pa.Schema:
    """Return a schema whose columns have the types of `types` where that has them."""
    kinds = {resolve_column(field.name, schema.names): field.type for field in types}
    return pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in schema], schema.metadata)


def make_output_schema(
    config: ScoreConfig, labels: Sequence[str], schema: pa.Schema, bundle_id: str, fingerprint: str
) -> pa.Schema:
    """Return the schema of a part; its metadata is that of the input, with the ids of the bundle and the plan added."""
    own = {b"sentiment_ray.bundle_id": bundle_id.encode(), PLAN_KEY: fingerprint.encode()}
    metadata = (schema.metadata or {}) | own
    kept = [schema.field(name) for name in list_kept_names(config, schema)]
    return pa.schema([*kept, *list_added_fields(config, labels)], metadata=metadata)


def open_part_writer(path: Path, schema: pa.Schema) -> parquet.ParquetWriter:
    """Open a writer of parts: compressed with zstd, without dictionaries for probabilities, which rarely repeat."""
    dictionaries = [
        field.name for field in schema if not pa.types.is_floating(field.type) and not field.type.num_fields
    ]
    return parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries)
