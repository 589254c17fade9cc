"""What a run has to do, decided once and written down before anything is scored; knows no tokens and no engine."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any

from sentiment_ray.errors import DataError
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.manifest import fingerprint
from sentiment_ray.score.config import HOW, ScoreConfig
from sentiment_ray.score.footers import Footer
from sentiment_ray.score.listing import InputFile
from sentiment_ray.storage import Store

PLAN_NAME = "_plan/plan.json"


@dataclass(frozen=True)
class Unit:
    """Row groups of one file that are scored together and become one part; `first_row` is the place in the file."""

    path: str
    version: str
    part: str
    row_groups: tuple[int, ...]
    group_rows: tuple[int, ...]
    first_row: int

    @property
    def num_rows(self) -> int:
        """Rows that the footer promises."""
        return sum(self.group_rows)


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be scored, why, and the rows that its footer names (0 when it cannot be read)."""

    path: str
    rows: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that is to be done. `wanted` holds what the scores depend on, and `fingerprint` is its sha256."""

    fingerprint: str
    wanted: dict[str, Any]
    units: list[Unit]
    bad_files: list[BadFile]

    @property
    def num_rows(self) -> int:
        """Rows of all files whose footers can be read."""
        return sum(unit.num_rows for unit in self.units) + sum(bad.rows for bad in self.bad_files)


def wanted_of(config: ScoreConfig, bundle: PackedBundle, files: Sequence[InputFile]) -> dict[str, Any]:
    """Return what the scores depend on: bundle, engine and variant, the keys that matter, and every input file."""
    return {
        "bundle": {"bundle_id": bundle.manifest.bundle_id, "engine": bundle.engine, "variant": bundle.variant},
        "settings": config.model_dump(mode="json", exclude=set(HOW)),
        "files": [asdict(file) for file in files],
    }


def make_plan(
    config: ScoreConfig, wanted: dict[str, Any], files: Sequence[InputFile], footers: Sequence[Footer]
) -> Plan:
    """Cut what can be scored into units; DataError when that is nothing."""
    bad_files = [
        BadFile(file.path, sum(footer.group_rows), footer.reason)
        for file, footer in zip(files, footers, strict=True)
        if footer.reason
    ]
    good = {file: footer.group_rows for file, footer in zip(files, footers, strict=True) if not footer.reason}
    if not good:
        raise DataError(f"{bad_files[0].path}: {bad_files[0].reason}. None of {len(files)} files can be scored.")
    groups = {file: cut(group_rows, config.unit_rows) for file, group_rows in good.items()}
    parts = _part_names({file: len(groups[file]) for file in good})
    units = [unit for file in good for unit in _units_of(file, good[file], groups[file], parts[file])]
    return Plan(fingerprint(wanted), wanted, units, bad_files)


def cut(group_rows: Sequence[int], unit_rows: int) -> list[list[int]]:
    """Group neighbouring row groups so that each has at most `unit_rows` rows (a larger row group stands alone)."""
    groups: list[list[int]] = []
    rows = 0
    for index, num_rows in enumerate(group_rows):
        if groups and rows + num_rows <= unit_rows:
            groups[-1].append(index)
            rows += num_rows
        else:
            groups.append([index])
            rows = num_rows
    return groups or [[]]


def write_plan(store: Store, plan: Plan) -> None:
    """Write the plan in one step; from then on a run with the same fingerprint goes on with it."""
    store.write(PLAN_NAME, json.dumps(asdict(plan)).encode())


def read_plan(store: Store) -> Plan | None:
    """Return the plan that stands in an output, or None."""
    try:
        value = json.loads(store.read(PLAN_NAME))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{store.path(PLAN_NAME)} cannot be read ({error}). Pass --restart to begin again.") from None
    try:
        units = [unit_from(unit) for unit in value["units"]]
        if not {"bundle", "settings", "files"} <= value["wanted"].keys():
            raise KeyError("wanted")
        return Plan(value["fingerprint"], value["wanted"], units, [BadFile(**bad) for bad in value["bad_files"]])
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{store.path(PLAN_NAME)} is no plan of this release. Pass --restart to begin again.") from None


def unit_from(value: dict[str, Any]) -> Unit:
    """Return the unit that a dictionary from JSON describes."""
    return Unit(**value | {"row_groups": tuple(value["row_groups"]), "group_rows": tuple(value["group_rows"])})


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return in words what differs first between what two runs depend on: bundle, a key, or an input file."""
    for key, value in new["bundle"].items():
        if old["bundle"].get(key) != value:
            return f"another bundle ({key} was {old['bundle'].get(key)!r} and is {value!r})"
    for key, value in new["settings"].items():
        if old["settings"].get(key) != value:
            return f"another configuration ({key} was {old['settings'].get(key)!r} and is {value!r})"
    before, after = ({file["path"]: file for file in wanted["files"]} for wanted in (old, new))
    for path in sorted({*before, *after}):
        if path not in after:
            return f"another input ({path} was there and is not)"
        if path not in before:
            return f"another input ({path} is there and was not)"
        if before[path] != after[path]:
            return f"another input ({path} has changed)"
    return "another release's configuration"


def _part_names(num_units: dict[InputFile, int]) -> dict[InputFile, list[str]]:
    """Return the names of every file's parts: its own name, or where it has several units, its name and their numbers.

    Files whose names differ in case or in `.parquet` alone are numbered on, one after the other. What stands before the
    number grows until no part takes the name of another file's.
    """
    by_stem: dict[str, list[InputFile]] = {}
    for file in num_units:
        by_stem.setdefault(_stem(file.name).casefold(), []).append(file)
    alone = {files[0] for files in by_stem.values() if len(files) == 1 and num_units[files[0]] == 1}
    taken, separator = {_with_ending(file.name).casefold() for file in alone}, "-"
    while True:
        names: dict[InputFile, list[str]] = {}
        for files in by_stem.values():
            numbers = count()
            for file in files:
                stem = _stem(file.name)
                numbered = [f"{stem}{separator}{number:05d}.parquet" for number in islice(numbers, num_units[file])]
                names[file] = [_with_ending(file.name)] if file in alone else numbered
        several = [name.casefold() for file, found in names.items() if file not in alone for name in found]
        if taken.isdisjoint(several):
            return names
        separator += "-"


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _with_ending(name: str) -> str:
    return _stem(name) + ".parquet"


def _units_of(file: InputFile, group_rows: Sequence[int], groups: list[list[int]], parts: list[str]) -> Iterator[Unit]:
    first_row = 0
    for group, part in zip(groups, parts, strict=True):
        rows = tuple(group_rows[index] for index in group)
        yield Unit(file.path, file.version, part, tuple(group), rows, first_row)
        first_row += sum(rows)
