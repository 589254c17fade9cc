"""The plan of a run: which rows are scored as one unit, written before anything is scored; knows no engine."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from typing import Any

import pyarrow as pa

from sentiment_ray.errors import DataError
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.manifest import fingerprint, format_json
from sentiment_ray.score.config import EXECUTION_KEYS, ScoreConfig
from sentiment_ray.score.footers import NO_COLUMNS, Footer
from sentiment_ray.score.output_names import PLAN_NAME
from sentiment_ray.score.pins import Pins, parse_pins
from sentiment_ray.storage import Store
from sentiment_ray.text.batching import PADDED_LENGTHS

PADDING_KEY = "padded_lengths"
"""Key of an identity's bundle: to which lengths rows are padded. Earlier releases, which had others, wrote none."""
FILE_KEYS = {"identity": "wanted"}
"""Fields of a Plan that have another name in its file."""


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
class Plan:
    """All units of a run. `identity` is everything that the scores depend on; `fingerprint` stands for it and the pins.

    Two plans with one fingerprint give the same bytes, so that a file of one may stand in the other.
    """

    fingerprint: str
    identity: dict[str, Any]
    units: list[Unit]
    bad_files: list[BadFile]
    left_out_files: dict[str, Any] = field(default_factory=dict)
    """What else is in the input, as `Listing.describe_left_out` gives it."""
    types: pa.Schema = NO_COLUMNS
    """The types of the output's columns that differ between the files."""
    pins: Pins | None = None
    """The versions and the precision that every worker must have; None in a plan of an earlier release."""

    @property
    def num_rows(self) -> int:
        """Rows of all files with a readable footer."""
        return sum(unit.num_rows for unit in self.units) + sum(bad.rows for bad in self.bad_files)


def identify_run(config: ScoreConfig, bundle: PackedBundle, files: Sequence[InputFile]) -> dict[str, Any]:
    """Return all that the scores depend on: bundle, engine and variant, configuration keys, and every input file."""
    return {
        "bundle": {
            "bundle_id": bundle.manifest.bundle_id,
            "engine": bundle.engine,
            "variant": bundle.variant,
            PADDING_KEY: PADDED_LENGTHS,
        },
        "settings": config.model_dump(mode="json", exclude=set(EXECUTION_KEYS)),
        "files": [
            {"path": file.path, "name": file.name, "bytes": file.bytes, "version": file.version} for file in files
        ],
    }


def make_plan(
    config: ScoreConfig,
    identity: dict[str, Any],
    files: Sequence[InputFile],
    footers: Sequence[Footer],
    types: pa.Schema = NO_COLUMNS,
    pins: Pins | None = None,
) -> Plan:
    """Cut the files that can be scored into units; DataError when there are none."""
    bad_files = [
        BadFile(file.path, sum(footer.group_rows), footer.reason)
        for file, footer in zip(files, footers, strict=True)
        if footer.reason
    ]
    good = {file: footer.group_rows for file, footer in zip(files, footers, strict=True) if not footer.reason}
    if not good:
        raise DataError(f"{bad_files[0].path}: {bad_files[0].reason}. None of {len(files)} files can be scored.")
    row_groups = {file: group_row_groups(group_rows, config.unit_rows) for file, group_rows in good.items()}
    parts = _name_parts({file: len(row_groups[file]) for file in good})
    units = [unit for file in good for unit in _make_units(file, good[file], row_groups[file], parts[file])]
    whole = fingerprint({"identity": identity, "pins": pins and asdict(pins)})
    return Plan(whole, identity, units, bad_files, types=types, pins=pins)


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


def write_plan(store: Store, plan: Plan) -> None:
    """Write the plan in one step. From then on a run with the same fingerprint continues this plan."""
    values = {FILE_KEYS.get(name, name): value for name, value in asdict(plan).items()}
    types, pins = values.pop("types"), values.pop("pins")
    if pins:
        values["pins"] = pins
    for unit in values["units"]:
        if unit["file_bytes"] is None:
            del unit["file_bytes"]
    if types.names:  # most plans need none; Arrow's own format keeps every detail of a type
        values["types"] = base64.b64encode(types.serialize().to_pybytes()).decode()
    if not plan.left_out_files:
        del values["left_out_files"]
    store.write(PLAN_NAME, format_json(values).encode())


def read_plan(store: Store) -> Plan | None:
    """Return the plan in an output, or None; DataError when it cannot be read."""
    try:
        value = json.loads(store.read(PLAN_NAME))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{store.path(PLAN_NAME)} cannot be read ({error}). Pass --restart to begin again.") from None
    try:
        units = [parse_unit(unit) for unit in value["units"]]
        identity = value["wanted"]
        if not {"bundle", "settings", "files"} <= identity.keys():
            raise KeyError("wanted")
        bad_files = [BadFile(**bad) for bad in value["bad_files"]]
        left_out = value.get("left_out_files", {})
        types = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["types"]))) if "types" in value else NO_COLUMNS
        pins = parse_pins(value.get("pins"))
        return Plan(value["fingerprint"], identity, units, bad_files, left_out, types, pins)
    except (KeyError, TypeError, AttributeError, ValueError, pa.ArrowException):
        raise DataError(
            f"{store.path(PLAN_NAME)} is not a plan of this release. Pass --restart to begin again."
        ) from None


def parse_unit(value: dict[str, Any]) -> Unit:
    """Return the unit that a JSON object describes."""
    return Unit(**value | {"row_groups": tuple(value["row_groups"]), "group_rows": tuple(value["group_rows"])})


def differs_in_padding_alone(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two runs differ only in the lengths that rows are padded to, on which the last bits of scores depend."""
    return old | {"bundle": old["bundle"] | {PADDING_KEY: new["bundle"][PADDING_KEY]}} == new


def has_same_identity(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two runs have the same identity. An earlier release left the version of a file empty in some stores."""
    if old == new or {**old, "files": []} != {**new, "files": []}:
        return old == new
    if len(old["files"]) != len(new["files"]):
        return False
    pairs = zip(old["files"], new["files"], strict=True)
    return all(before | {"version": before["version"] or after["version"]} == after for before, after in pairs)


def describe_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return in words the first difference between the identities of two runs: the bundle, a key, or an input file."""
    if differs_in_padding_alone(old, new):
        return "another release, which padded texts to other lengths, so that the last bits of scores may differ"
    for key, value in new["bundle"].items():
        if key != PADDING_KEY and old["bundle"].get(key) != value:
            return f"another bundle ({key} was {old['bundle'].get(key)!r} and is {value!r})"
    for key, value in new["settings"].items():
        if old["settings"].get(key) != value:
            return f"another configuration ({key} was {old['settings'].get(key)!r} and is {value!r})"
    before, after = ({file["path"]: file for file in identity["files"]} for identity in (old, new))
    for path in sorted({*before, *after}):
        if path not in after:
            return f"another input ({path} has been removed)"
        if path not in before:
            return f"another input ({path} has been added)"
        if before[path] != after[path]:
            return f"another input ({path} has changed)"
    return "another release's configuration"


def _name_parts(num_units: dict[InputFile, int]) -> dict[InputFile, list[str]]:
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
    while True:
        names: dict[InputFile, list[str]] = {}
        for files in by_stem.values():
            numbers = count()
            for file in files:
                stem = _stem(file.name)
                numbered = [f"{stem}{separator}{number:05d}.parquet" for number in islice(numbers, num_units[file])]
                names[file] = [_with_ending(file.name)] if file in alone else numbered
        all_numbered = [name.casefold() for file, own in names.items() if file not in alone for name in own]
        if taken.isdisjoint(all_numbered):
            return names
        separator += "-"


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _with_ending(name: str) -> str:
    return _stem(name) + ".parquet"


def _make_units(
    file: InputFile, group_rows: Sequence[int], row_groups: list[list[int]], parts: list[str]
) -> Iterator[Unit]:
    first_row = 0
    for indices, part in zip(row_groups, parts, strict=True):
        rows = tuple(group_rows[index] for index in indices)
        yield Unit(file.path, file.version, part, tuple(indices), rows, first_row, file.bytes)
        first_row += sum(rows)
