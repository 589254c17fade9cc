"""Lists the files of an input, and says what of it is left out and why."""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentiment_ray import log
from sentiment_ray.errors import ConfigError, DataError, SentimentRayError, StorageError
from sentiment_ray.input_files import names
from sentiment_ray.input_files.content import START_BYTES, is_json, suggest_format
from sentiment_ray.input_files.location import Location, list_matching_directories, look_up
from sentiment_ray.input_files.patterns import ANY_DIRECTORIES, matches
from sentiment_ray.input_files.selection import PARQUET, Selection, Wanted, select
from sentiment_ray.input_files.tables import keep_rows_of_tables
from sentiment_ray.paths import is_url
from sentiment_ray.retrying import is_machine_fault, is_passing, retry_passing
from sentiment_ray.store_faults import watch_faults
from sentiment_ray.store_location import full_path, is_local, open_location

PREPARED = "prepared.json"
SPLITS = ("train", "validation", "test")
HUB_CACHE = {"blobs", "refs", "snapshots"}
MAX_NAMES_SHOWN = 20
SURPRISES = {
    "other_formats": "other formats",
    "hidden_data": "names that begin with _ or a dot",
    "repeated": "links to what is read under another name",
    "loops": "links to a directory above them",
    "directories": "directories beside files that the glob matches",
    "special": "devices, pipes and sockets",
}
"""Kinds of names that a person may have meant to be read, and how a warning describes them. The other kinds are
`markers`, the files of programs, `hidden`, `removed_from_table`, and `other_splits` of prepared reviews."""


@dataclass(frozen=True)
class InputFile:
    """A file of an input; `name` is its path below the input, and `version` changes with its content."""

    path: str
    name: str
    bytes: int
    version: str
    format: str = "parquet"
    """The format that its ending or its content tells; empty for a file that was named itself, if neither does."""
    defect: str = ""
    """Why the name leads to no regular file; empty otherwise."""


@dataclass(frozen=True)
class Listing:
    """The files of an input, sorted by name, and the names of the others by kind."""

    location: str
    kind: str
    """file, directory or glob."""
    root: str
    """What names are relative to: the directory, the directory above a glob's first wildcard, or that of the file."""
    files: list[InputFile]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    linked_directories: tuple[str, ...] = ()
    """Real paths of the directories that links in it lead to."""

    def describe_left_out(self) -> dict[str, Any]:
        """Return the number of names of each kind, and the first of those that may surprise, ready for JSON."""
        counts: dict[str, Any] = {kind: len(self.left_out[kind]) for kind in sorted(self.left_out)}
        surprising = sorted(name for kind in SURPRISES for name in self.left_out.get(kind, []))
        return counts | ({"names": list(map(quote_name, surprising[:MAX_NAMES_SHOWN]))} if surprising else {})

    def count_surprises(self) -> int:
        """Return how many names are left out that a person may have meant to be read."""
        return sum(len(self.left_out.get(kind, [])) for kind in SURPRISES)

    def warn_about_left_out(self, remedy: str) -> None:
        """Name on stderr what a person may have meant to be read."""
        kinds = [kind for kind in SURPRISES if self.left_out.get(kind)]
        if kinds:
            lists = [
                f"{SURPRISES[kind]} ({len(self.left_out[kind]):,}): {_join(self.left_out[kind])}" for kind in kinds
            ]
            log.notify(f"Not read in {self.location}: {'; '.join(lists)}. {remedy}", level=logging.WARNING)


def list_input(
    location: str,
    *,
    label: str,
    formats: Collection[str],
    stated_format: str | None = None,
    splits: Sequence[str] = SPLITS,
    keep_defective: bool = False,
) -> Listing:
    """Return the files of a file, a directory with its subdirectories, or a glob, on a disk or an object store.

    `formats` are those that the stage reads. With a `stated_format`, files without an ending that is known have that
    one, if a glob matches them or if they have the names that Spark and Hive give. Of a directory that prepare_reviews
    wrote, only `splits` are read. With `keep_defective`, broken links, devices and names that are
    not UTF-8 are listed too.
    DataError, which begins with `label`, when there is no file, when a file is a broken link or has no UTF-8 name, and
    when files belong to a table and do not give its rows. StorageError when the store or the disk does not answer.
    """
    fs = open_location(location)[0]
    wanted = Wanted(formats, stated_format, keep_defective)
    try:
        selection = retry_passing(
            lambda: _select(location, label, wanted),
            f"{label} cannot be listed",
            passes=is_machine_fault if is_local(fs) else is_passing,
            remedy="Run the same command again when that is mended, or correct the path.",
        )
        place = selection.location
        if place.kind == "file" and set(formats) == {PARQUET}:
            _refuse_other_format(selection, location, label)
        if place.kind == "directory":
            _refuse_hub_cache(place, label)
            _keep_splits(selection, location, splits, label)
        keep_rows_of_tables(selection)
    except (SentimentRayError, AssertionError):
        raise
    except Exception as error:  # the library of every store has its own errors for a failing network
        if is_local(fs):
            raise
        cause = (str(error).splitlines() or [""])[0].rstrip(".")
        raise StorageError(
            f"{label} cannot be listed ({type(error).__name__}: {cause}). Run the same command again when the store "
            "answers, or correct the URL."
        ) from None
    if not selection.entries:
        raise DataError(_describe_emptiness(selection, label, wanted))
    return _make_listing(location, selection)


def refuse_overlap(listing: Listing, output: str, *, label: str) -> None:
    """Raise ConfigError when the output lies inside a directory that is the input, or holds a file of the input."""
    fs, path = open_location(output)
    below = _find_real_path(full_path(fs, path.rstrip("/"))) + "/"
    roots = (_find_real_path(listing.root), *listing.linked_directories)
    if listing.kind == "directory" and any(below.startswith(root.rstrip("/") + "/") for root in roots):
        raise ConfigError(f"output = {output!r} lies inside {label}. Name a directory outside it.")
    real_root = roots[0].rstrip("/")
    inside = [file.path for file in listing.files if f"{real_root}/{file.name}".startswith(below)]
    inside += [directory for directory in listing.linked_directories if f"{directory}/".startswith(below)]
    if inside:
        raise ConfigError(
            f"{label} names {inside[0]}, which lies inside the output {output!r} and would be replaced. "
            "Name another output."
        )


def quote_name(name: str) -> str:
    """Return a name as a line of text can show it."""
    shown = name.encode(errors="surrogateescape").decode(errors="replace")
    return shown if shown.isprintable() and shown.strip() == shown else repr(shown)


def _make_listing(location: str, selection: Selection) -> Listing:
    place = selection.location
    files = [
        InputFile(
            full_path(place.fs, place.path(name)),
            name,
            entry.bytes,
            entry.version,
            selection.formats[name],
            entry.defect,
        )  # fmt: skip
        for name, entry in sorted(selection.entries.items())
    ]
    left_out = {kind: sorted(found) for kind, found in selection.left_out.items() if found}
    return Listing(location, place.kind, full_path(place.fs, place.root), files, left_out, tuple(place.tree.targets))


def _join(found: Sequence[str]) -> str:
    shown = ", ".join(map(quote_name, found[:MAX_NAMES_SHOWN]))
    return f"{shown}, …" if len(found) > MAX_NAMES_SHOWN else shown


def _find_real_path(path: str) -> str:
    return path if is_url(path) else os.path.realpath(path)


def _select(location: str, label: str, wanted: Wanted) -> Selection:
    with watch_faults(open_location(location)[0]):
        place = look_up(location, label)
        return _select_of_glob(place, wanted) if place.kind == "glob" else select(place, wanted)


def _select_of_glob(place: Location, wanted: Wanted) -> Selection:
    """Return the files that a glob matches or, when it matches only directories, the files below those."""
    selection = select(place, wanted)
    directories = [] if ANY_DIRECTORIES in place.pattern else _find_matching_directories(place)
    if directories and not selection.entries:
        return select(list_matching_directories(place), wanted)
    for name in directories:
        selection.leave_out(name, "directories")
    return selection


def _find_matching_directories(place: Location) -> list[str]:
    return [
        name
        for name in place.tree.directories
        if matches(place.pattern, name.split("/")) and names.classify(f"{name}/x", place.names_hidden) is None
    ]


def _refuse_hub_cache(place: Location, label: str) -> None:
    if set(place.tree.directories) >= HUB_CACHE:
        snapshots = sorted(name for name in place.tree.directories if name.startswith("snapshots/"))
        shown = place.path(snapshots[0] if snapshots else "snapshots/…")
        raise DataError(
            f"{label} is a cache of the Hub and may hold several versions of a data set. Name one version: {shown}"
        )


def _refuse_other_format(selection: Selection, location: str, label: str) -> None:
    """Raise DataError if the file that an input names is not Parquet, by its ending or its content."""
    ((name, found),) = selection.formats.items()
    if found == PARQUET or selection.entries[name].defect:
        return
    start = _read_start(selection.location, name)
    advice = None if is_json(start) else suggest_format(start)
    if advice and not (found and advice.startswith("It is compressed")):
        raise DataError(f"{label} does not have the name of a Parquet file, and only Parquet is read here. {advice}.")
    what = found.upper() if found else "not a Parquet file"
    raise DataError(f"{label} is {what}, and only Parquet is read here. {_explain_conversion(location)}")


def _explain_conversion(path: str) -> str:
    """Return a command that writes a text file as Parquet."""
    directory, slash, name = path.rpartition("/")
    target = f"{directory}{slash}{name.partition('.')[0] or name}.parquet"
    source, target = (each.replace("'", "''") for each in (path, target))
    return f"Write it as Parquet, for example: duckdb -c \"COPY (FROM '{source}') TO '{target}'\""


def _keep_splits(selection: Selection, location: str, splits: Sequence[str], label: str) -> None:
    """Leave out all but some splits, if prepare_reviews wrote the directory, and say so on stderr."""
    present = {entry.name for entry in selection.location.tree.entries}
    directories = {name.partition("/")[0] for name in selection.entries}
    if PREPARED not in present or "train" not in directories:
        return
    for name in list(selection.entries):
        if name.partition("/")[0] not in splits:
            selection.leave_out(name, "other_splits")
    selection.left_out["other_formats"] = {name for name in selection.left_out["other_formats"] if "/" in name}
    if not selection.entries:
        raise DataError(f"{label} holds prepared reviews without a split {splits[0]}. Name another directory.")
    read, others = (", ".join(sorted(found)) for found in (directories & set(splits), directories - set(splits)))
    unread = f", and not from {others}" if others else ""
    log.notify(f"{location} holds prepared reviews. Rows are read from {read}{unread}.")


def _describe_emptiness(selection: Selection, label: str, wanted: Wanted) -> str:
    endings = [ending for ending, found in names.FORMATS_BY_SUFFIX.items() if found in wanted.formats]
    message = f"{label} does not hold a file that ends in {', '.join(endings)}"
    others = sorted(selection.left_out["other_formats"] | selection.left_out["hidden_data"])
    if selection.left_out["removed_from_table"]:
        message += "; the table no longer has the files that are there"
    elif others:
        message += f", only {_join(others)}"
    elif markers := sorted(selection.left_out["markers"]):
        message += f", only files of programs: {_join(markers)}"
    if any(name.endswith(".dvc") for name in others):
        return f"{message}. Run: dvc pull."
    tables = [name for name in others if names.find_format(name)] if set(wanted.formats) == {PARQUET} else []
    if tables:
        return f"{message}. Only Parquet is read here. {_explain_conversion(selection.location.path(tables[0]))}"
    return f"{message}. {_explain_other_format(selection, wanted) or 'Correct its path or its format'}."


def _explain_other_format(selection: Selection, wanted: Wanted) -> str | None:
    """Return what a file of another format is, by its content, and how it is read; None if that cannot be said."""
    others = sorted(selection.left_out["other_formats"])
    reads_text = set(wanted.formats) != {PARQUET}
    starts = {name: _read_start(selection.location, name) for name in others[:MAX_NAMES_SHOWN]}
    for name, start in starts.items():
        is_packed_text = name.lower().endswith(names.COMPRESSED_SUFFIXES)
        advice = None if is_json(start) else suggest_format(start)
        if advice and not (is_packed_text and advice.startswith("It is compressed")):
            return advice if len(others) == 1 else f"{quote_name(name)}: {advice}"
    suffixes = {os.path.splitext(name)[1] for name in others}
    if not reads_text or len(suffixes) != 1:
        return None
    pattern = selection.location.path(f"**/*{min(suffixes)}" if "/" in others[0] else f"*{min(suffixes)}")
    flag = "--format jsonl" if is_json(starts[others[0]]) else "--format"
    return f"Name the files themselves, as in {pattern!r}, and pass {flag}"


def _read_start(place: Location, name: str) -> bytes:
    """Return the first bytes of a file, none if it cannot be read."""
    try:
        return bytes(place.fs.cat_file(place.path(name), start=0, end=START_BYTES))
    except Exception:  # the library of every store has its own errors; the message that is written says enough
        return b""
