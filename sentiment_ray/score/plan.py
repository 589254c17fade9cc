"""The plan of a run: which rows are scored as one unit, cut before anything is scored; reads and writes no files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.errors import DataError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.paths import decode_name, encode_name
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.footers import NO_COLUMNS, Footer
from sentiment_ray.score.identity import Identity, fingerprint_run
from sentiment_ray.score.pins import Pins

SHARD_UNITS = 10_000
"""Units of a shard of the plan, and of the receipts."""
UNIT_SCHEMA = pa.schema(
    [
        ("path", pa.binary()),
        ("version", pa.string()),
        ("part", pa.binary()),
        ("first_row_group", pa.int64()),
        ("group_rows", pa.list_(pa.int64())),
        ("first_row", pa.int64()),
        ("file_bytes", pa.int64()),
    ]
)
"""A unit in a shard of the plan. Its row groups are neighbours, `first_row_group` and the following ones.

Names are those of `encode_name`, because on a disk they need not be UTF-8.
"""


@dataclass(frozen=True)
class Unit:
    """Row groups of one file that one worker scores into one part; `first_row` counts from the start of the file."""

    path: str
    version: str
    part: str
    row_groups: tuple[int, ...]
    group_rows: tuple[int, ...]
    first_row: int
    file_bytes: int | None = None
    """Size of the file; None in a plan of an earlier release."""
    number: int = 0
    """Number of the unit in its plan."""

    @property
    def num_rows(self) -> int:
        """How many rows the footer names."""
        return sum(self.group_rows)


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be scored, the rows that its footer names (0 without a readable footer), and the reason."""

    path: str
    rows: int
    reason: str


@dataclass(frozen=True)
class PlanShard:
    """A file with neighbouring units of a plan."""

    index: int
    name: str
    first_unit: int
    """Number of its first unit."""
    num_units: int
    num_rows: int
    bytes: int
    sha256: str

    @property
    def numbers(self) -> range:
        """The numbers of its units."""
        return range(self.first_unit, self.first_unit + self.num_units)


@dataclass(frozen=True)
class Plan:
    """A plan without its units. `identity` is everything that the scores depend on.

    `fingerprint` stands for it and the pins. Two plans with one fingerprint give the same bytes, so that a file of one
    may stand in the other.
    """

    fingerprint: str
    identity: Identity
    bad_files: Sequence[BadFile] = ()
    left_out_files: dict[str, Any] = field(default_factory=dict)
    """What else is in the input, as `Listing.describe_left_out` gives it."""
    types: pa.Schema = NO_COLUMNS
    """The types of the output's columns that differ between the files."""
    pins: Pins | None = None
    """The versions and the precision that every worker must have; None in a plan of an earlier release."""
    shards: tuple[PlanShard, ...] = ()
    """The files with the units, in order."""
    file_shards: tuple[str, ...] = ()
    """Names of the files with the input files, in order."""
    old_units: tuple[Unit, ...] = ()
    """All units of a plan that an earlier release has written as one document. Such a plan is not resumed."""

    @property
    def num_units(self) -> int:
        """How many units the plan has."""
        return len(self.old_units) or sum(shard.num_units for shard in self.shards)

    @property
    def num_unit_rows(self) -> int:
        """Rows of all units."""
        return sum(shard.num_rows for shard in self.shards) + sum(unit.num_rows for unit in self.old_units)

    @property
    def num_rows(self) -> int:
        """Rows of all files with a readable footer."""
        return self.num_unit_rows + sum(bad.rows for bad in self.bad_files)

    def without_files(self) -> "Plan":
        """Return the plan as the workers need it: without the input files, which may be many."""
        identity = replace(self.identity, files=self.identity.files.slice(0, 0))
        return replace(self, identity=identity, bad_files=())

    @property
    def shard_units(self) -> int:
        """How many units each shard has; only the last one may have fewer."""
        return self.shards[0].num_units

    def find_shard(self, unit: int) -> PlanShard:
        """Return the shard of the unit with this number."""
        return self.shards[unit // self.shard_units]


@dataclass(frozen=True)
class NewPlan:
    """A plan that is not written yet: the plan without its shards, and a table of UNIT_SCHEMA for each shard."""

    plan: Plan
    tables: tuple[pa.Table, ...]

    @property
    def num_units(self) -> int:
        """How many units the plan has."""
        return sum(table.num_rows for table in self.tables)

    @property
    def num_rows(self) -> int:
        """Rows of all files with a readable footer."""
        return sum(map(count_rows, self.tables)) + self.plan.num_rows


def make_plan(
    config: ScoreConfig,
    identity: Identity,
    files: Sequence[InputFile],
    footers: Sequence[Footer],
    pins: Pins | None = None,
) -> NewPlan:
    """Cut the files that can be scored into units; DataError when there are none."""
    bad_files = [
        BadFile(file.path, sum(footer.group_rows), footer.reason)
        for file, footer in zip(files, footers, strict=True)
        if footer.reason
    ]
    good = {file: footer.group_rows for file, footer in zip(files, footers, strict=True) if not footer.reason}
    if not good:
        raise DataError(f"{bad_files[0].path}: {bad_files[0].reason}. None of {len(files)} files can be scored.")
    return NewPlan(
        Plan(fingerprint_run(identity, pins), identity, bad_files, pins=pins),
        tuple(make_unit_tables(_cut_files(good, config.unit_rows))),
    )


def make_unit_tables(units: Iterable[Unit]) -> Iterator[pa.Table]:
    """Yield units as tables of UNIT_SCHEMA, one for each shard."""
    waiting = iter(units)
    while chunk := list(islice(waiting, SHARD_UNITS)):
        columns = {
            name: [getattr(unit, name) for unit in chunk] for name in UNIT_SCHEMA.names if name != "first_row_group"
        }
        columns |= {name: list(map(encode_name, columns[name])) for name in ("path", "part")}
        columns["first_row_group"] = [unit.row_groups[0] if unit.row_groups else 0 for unit in chunk]
        yield pa.table(columns, schema=UNIT_SCHEMA)


def make_unit(table: pa.Table, index: int, first_unit: int) -> Unit:
    """Return a unit of a shard, whose first unit has the number `first_unit`."""
    row = table.slice(index, 1).to_pylist()[0]
    row |= {name: decode_name(row[name]) for name in ("path", "part")}
    first, rows = row.pop("first_row_group"), tuple(row.pop("group_rows"))
    return Unit(**row, row_groups=tuple(range(first, first + len(rows))), group_rows=rows, number=first_unit + index)


def list_parts(table: pa.Table) -> list[str]:
    """Return the names of the parts of a table of units."""
    return [decode_name(part) for part in table["part"].to_pylist()]


def count_rows(table: pa.Table) -> int:
    """Return the rows of all units of a table."""
    return int(count_unit_rows(table).sum())


def count_unit_rows(table: pa.Table) -> NDArray[np.int64]:
    """Return the rows of each unit of a table, int64 `(units,)`."""
    groups = table["group_rows"].combine_chunks()
    ends = np.concatenate([[0], np.cumsum(groups.flatten().to_numpy())])
    offsets = groups.offsets.to_numpy() - groups.offsets[0].as_py()
    return np.diff(ends[offsets])


def group_row_groups(group_rows: Sequence[int], unit_rows: int) -> list[list[int]]:
    """Return the row groups of each unit: neighbours with at most `unit_rows` rows, or one larger row group."""
    units: list[list[int]] = []
    rows = 0
    for index, num_rows in enumerate(group_rows):
        if units and rows + num_rows <= unit_rows:
            units[-1].append(index)
            rows += num_rows
        else:
            units.append([index])
            rows = num_rows
    return units or [[]]


def parse_unit(value: dict[str, Any]) -> Unit:
    """Return the unit that a JSON object describes, as earlier releases wrote it."""
    return Unit(**value | {"row_groups": tuple(value["row_groups"]), "group_rows": tuple(value["group_rows"])})


def name_parts(num_units: dict[InputFile, int]) -> dict[InputFile, Iterator[str]]:
    """Return the names of the parts of every file, no name twice.

    A file with one unit gives its part its own name; the parts of a file with several units are numbered. Files whose
    names differ only in case, or in the ending `.parquet`, share one numbering. The separator before the number grows
    until no numbered part has the name of another file's part.
    """
    by_stem: dict[str, list[InputFile]] = {}
    for file in num_units:
        by_stem.setdefault(_stem(file.name).casefold(), []).append(file)
    alone = {files[0] for files in by_stem.values() if len(files) == 1 and num_units[files[0]] == 1}
    taken, separator = {_with_ending(file.name).casefold() for file in alone}, "-"

    def name_numbered() -> dict[InputFile, Iterator[str]]:
        names: dict[InputFile, Iterator[str]] = {}
        for files in by_stem.values():
            first = 0
            for file in files:
                numbers = range(first, first + num_units[file])
                names[file] = _number(f"{_stem(file.name)}{separator}", numbers)
                first = numbers.stop
        return names

    while taken and not taken.isdisjoint(
        name.casefold() for file, names in name_numbered().items() if file not in alone for name in names
    ):
        separator += "-"
    return {
        file: iter([_with_ending(file.name)]) if file in alone else names for file, names in name_numbered().items()
    }


def _number(start: str, numbers: range) -> Iterator[str]:
    return (f"{start}{number:05d}.parquet" for number in numbers)


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _with_ending(name: str) -> str:
    return _stem(name) + ".parquet"


def _cut_files(files: dict[InputFile, tuple[int, ...]], unit_rows: int) -> Iterator[Unit]:
    """Yield the units of files, whose row groups have these rows."""
    num_units = {file: len(group_row_groups(group_rows, unit_rows)) for file, group_rows in files.items()}
    parts, numbers = name_parts(num_units), count()
    for file, group_rows in files.items():
        first_row = 0
        for indices, part in zip(group_row_groups(group_rows, unit_rows), parts[file], strict=True):
            rows = tuple(group_rows[index] for index in indices)
            yield Unit(file.path, file.version, part, tuple(indices), rows, first_row, file.bytes, next(numbers))
            first_row += sum(rows)
