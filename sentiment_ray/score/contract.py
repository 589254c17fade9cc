"""Checks that all files have the columns that the run needs, with one type each; reads no files."""

from collections import Counter
from collections.abc import Sequence

from sentiment_ray.column_names import describe_missing_column
from sentiment_ray.errors import ConfigError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.footers import TEXT, Footer


def check_schemas(
    files: Sequence[InputFile], footers: Sequence[Footer], config: ScoreConfig, added: Sequence[str]
) -> list[Footer]:
    """Return the footers, with a reason for every file that breaks the contract.

    The contract has the columns that the configuration names and, when `columns` is empty, every column that most rows
    have. The type of each is the one that most rows have. A file may have further columns, and a column of nulls has
    every type. ConfigError when a column of the contract has the name of a column that scoring adds.
    """
    contract = _find_contract(footers, config)
    clash = [name for name in added if name in (config.columns or contract)]
    if clash:
        raise ConfigError(
            f"{files[0].path}: column {clash[0]!r} already exists, and scoring would add it again. "
            "Leave it out with --columns, or choose other names with --prefix."
        )
    group_type = contract.get(config.group_by or "", "")
    if group_type.startswith(("list", "large_list", "fixed_size_list", "struct", "map", "halffloat", "extension")):
        raise ConfigError(f"group_by = {config.group_by!r}: the column is {group_type}, which cannot be grouped by.")
    return [
        Footer(
            footer.columns, footer.group_rows, footer.reason or _find_defect(footer.columns, contract, config, added)
        )
        for footer in footers
    ]


def _find_contract(footers: Sequence[Footer], config: ScoreConfig) -> dict[str, str]:
    """Return the columns that every file must have, and the type of each that most rows have."""
    types: dict[str, Counter[str]] = {}
    total = 0
    for footer in footers:
        if footer.reason is None and all(footer.columns.get(name) == TEXT for name in config.text_column):
            rows = 1 + sum(footer.group_rows)
            total += rows
            for name, data_type in footer.columns.items():
                types.setdefault(name, Counter())[data_type] += 0 if data_type == "null" else rows
    required = {*config.text_column, *config.columns, *([config.group_by] if config.group_by else [])}
    common = [name for name, counts in types.items() if 2 * counts.total() > total]
    names = required if config.columns else required | set(common)
    return {name: types[name].most_common(1)[0][0] if name in types else "" for name in sorted(names)}


def _find_defect(
    columns: dict[str, str], contract: dict[str, str], config: ScoreConfig, added: Sequence[str]
) -> str | None:
    for name, data_type in contract.items():
        if name not in columns:
            return f"{describe_missing_column(name, columns)} Pass --text-column or --columns with names that exist"
        if name in config.text_column:
            if columns[name] != TEXT:
                return f"column {name!r} is {columns[name]}, not text; pass --text-column with another"
        elif columns[name] not in (data_type, "null"):
            return f"column {name!r} is {columns[name]} here and {data_type} in most files; pass --columns without it"
    clash = [name for name in added if name in columns and not config.columns]
    return (
        f"column {clash[0]!r} already exists, and scoring would add it again; choose another --prefix"
        if clash
        else None
    )
