"""Checks that all files have the columns that the run needs, in types that go together; reads no files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from sentiment_ray.column_names import describe_missing_column, resolve_column
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.input_files.names import parse_hive_columns
from sentiment_ray.parquet_types import (
    can_cast,
    can_hold_texts,
    choose_type,
    describe_other_type,
    explain_nested_texts,
    suggest_text_column,
)
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.footers import Footer

UNGROUPABLE = ("list", "large_list", "fixed_size_list", "struct", "map", "halffloat", "extension")


@dataclass(frozen=True)
class CheckedFiles:
    """The footers of all files, with a reason for each that breaks the contract.

    `types` has the columns whose type differs between the files, in the type that they have in the output.
    """

    footers: list[Footer]
    types: pa.Schema


def check_schemas(
    files: Sequence[InputFile], footers: Sequence[Footer], config: ScoreConfig, added: Sequence[str]
) -> CheckedFiles:
    """Find the files that break the contract, and the types of the output.

    The contract has the columns that the configuration names and, when `columns` is empty, every column that most rows
    have. Where the types of a column differ, its type is that of most rows, or a wider one that holds the others too;
    a file whose values have no such type breaks the contract. A file may have further columns, a column of nulls has
    every type, and a file without rows keeps every contract. ConfigError when a column of the contract has the name of
    a column that scoring adds.
    """
    rows_by_schema = _count_rows(footers, config)
    types = _count_types(rows_by_schema)
    contract = _find_contract(types, rows_by_schema.total(), config)
    clash = [name for name in added if name in (config.columns or contract)]
    if clash:
        raise ConfigError(
            f"{files[0].path}: column {clash[0]!r} already exists, and scoring would add it again. "
            "Leave it out with --columns, or choose other names with --prefix."
        )
    group_type = str(contract.get(config.group_by or "", ""))
    if group_type.startswith(UNGROUPABLE):
        raise ConfigError(f"group_by = {config.group_by!r}: the column is {group_type}, which cannot be grouped by.")
    checked = []
    for file, footer in zip(files, footers, strict=True):
        given = parse_hive_columns(file.name.split("/")[:-1]).keys() - types.keys() - set(config.text_column)
        needed = {name: kind for name, kind in contract.items() if name not in given}
        checked.append(replace(footer, reason=footer.reason or _find_defect(footer, needed, config, added)))
    _refuse_without_texts(files, footers, checked, config)
    differing = {name: kind for name, kind in contract.items() if len(types.get(name, ())) > 1}
    return CheckedFiles(checked, pa.schema(list(differing.items())))


def _count_rows(footers: Sequence[Footer], config: ScoreConfig) -> Counter[pa.Schema]:
    """Return the rows that have each schema, of the files with texts; 0 for a schema of files without rows."""
    by_schema: Counter[pa.Schema] = Counter()
    for footer in footers:
        if not footer.reason:
            by_schema[footer.schema] += sum(footer.group_rows)
    renamed = [(_rename_padded(schema, config), rows) for schema, rows in by_schema.items()]
    rows_by_schema: Counter[pa.Schema] = Counter()
    for schema, rows in renamed:
        if not rows or _has_texts(schema, config):
            rows_by_schema[schema] += rows
    return rows_by_schema


def _refuse_without_texts(
    files: Sequence[InputFile], footers: Sequence[Footer], checked: Sequence[Footer], config: ScoreConfig
) -> None:
    """Raise DataError when no file with rows has the text columns: then the person has named others than they meant."""
    filled = [index for index, footer in enumerate(footers) if not footer.reason and any(footer.group_rows)]
    if filled and not any(_has_texts(_rename_padded(footers[index].schema, config), config) for index in filled):
        first = filled[0]
        raise DataError(f"{files[first].path}: {checked[first].reason}. None of {len(files)} files can be scored.")


def _has_texts(schema: pa.Schema, config: ScoreConfig) -> bool:
    return all(name in schema.names and can_hold_texts(schema.field(name).type) for name in config.text_column)


def _count_types(rows_by_schema: Counter[pa.Schema]) -> dict[str, Counter[pa.DataType]]:
    """Return the rows that have each type of each column."""
    types: dict[str, Counter[pa.DataType]] = {}
    for schema, rows in rows_by_schema.items():
        for field in schema:
            types.setdefault(field.name, Counter())[field.type] += rows
    return types


def _find_contract(
    types: dict[str, Counter[pa.DataType]], num_rows: int, config: ScoreConfig
) -> dict[str, pa.DataType]:
    """Return the columns that every file must have, and the type of each."""
    required = {*config.text_column, *config.columns, *([config.group_by] if config.group_by else [])}
    values = {name: sum(rows for kind, rows in counts.items() if kind != pa.null()) for name, counts in types.items()}
    common = [] if config.columns else [name for name, rows in values.items() if 2 * rows > num_rows]
    counts = {name: {kind: rows for kind, rows in types.get(name, {}).items() if rows} for name in {*required, *common}}
    return {name: choose_type(counts[name] or {pa.null(): 0}) for name in sorted(counts)}


def _find_defect(
    footer: Footer, contract: dict[str, pa.DataType], config: ScoreConfig, added: Sequence[str]
) -> str | None:
    """Return why a file breaks the contract, without a full stop at the end, or None."""
    names = footer.schema.names
    for name, kind in contract.items() if any(footer.group_rows) else ():
        column = resolve_column(name, names)
        if column is None:
            is_text = name in config.text_column
            remedy = _suggest_flag(name, config)
            if is_text:
                nested = explain_nested_texts(footer.schema, name)
                remedy = nested or suggest_text_column(footer.schema, "Pass --text-column.")
            return f"{describe_missing_column(name, names)} {remedy}"
        own_kind = footer.schema.field(column).type
        if name in config.text_column and not can_hold_texts(own_kind):
            return describe_other_type(footer.schema, column, "Pass --text-column.")
        if not can_cast(own_kind, kind):
            return (
                f"the column {column!r} is {own_kind} here and {kind} in most files. Write it with one type, or "
                f"{_suggest_flag(name, config).lower()}"
            )
    clash = [name for name in added if name in names and not config.columns]
    return (
        f"the column {clash[0]!r} already exists, and scoring would add it again. Choose another --prefix"
        if clash
        else None
    )


def _suggest_flag(name: str, config: ScoreConfig) -> str:
    if name == config.group_by:
        return "Pass --group-by with a column of every file"
    return f"{'Leave it out of' if name in config.columns else 'List all other columns in'} --columns"


def _rename_padded(schema: pa.Schema, config: ScoreConfig) -> pa.Schema:
    """Return a schema in which columns that the configuration means have the names of the configuration."""
    wanted = [*config.text_column, *config.columns, *([config.group_by] if config.group_by else [])]
    names = {resolve_column(name, schema.names): name for name in wanted}
    return pa.schema([field.with_name(names.get(field.name, field.name)) for field in schema])
