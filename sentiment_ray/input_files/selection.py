"""Selects the data among the files of a location; opens a few bytes of files whose names leave their format open."""

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sentiment_ray.errors import DataError
from sentiment_ray.input_files import names
from sentiment_ray.input_files.location import Location
from sentiment_ray.input_files.patterns import matches, may_lead_to_match
from sentiment_ray.input_files.tree import Entry
from sentiment_ray.retrying import is_passing
from sentiment_ray.store_location import is_local

PARQUET, PARQUET_MAGIC = "parquet", b"PAR1"
MIN_PARQUET_BYTES = 12


@dataclass(frozen=True)
class Wanted:
    """Which files a stage reads: `formats`, with the same meaning as in `listing.list_input`."""

    formats: Collection[str]
    stated_format: str | None = None
    keep_defective: bool = False


@dataclass
class Selection:
    """The files to read, by name, with their formats, and the others by kind."""

    location: Location
    entries: dict[str, Entry] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    left_out: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, entry: Entry, file_format: str) -> None:
        """Read a file."""
        for found in self.left_out.values():
            found.discard(entry.name)
        self.entries[entry.name], self.formats[entry.name] = entry, file_format

    def leave_out(self, name: str, kind: str) -> None:
        """Do not read a file, for a reason."""
        self.entries.pop(name, None)
        self.formats.pop(name, None)
        self.left_out[kind].add(name)


def select(location: Location, wanted: Wanted) -> Selection:
    """Return the files to read; DataError for a broken link and a name that is not UTF-8 unless `keep_defective`."""
    selection = Selection(location)
    entries = [entry for entry in location.tree.entries if _matches(location, entry.name)]
    if location.kind == "file":
        (entry,) = entries
        selection.add(entry, wanted.stated_format or names.find_format(entry.name) or "")
        if not selection.formats[entry.name] and not entry.defect:
            _select_by_content(selection, entries)
    else:
        _select_by_name(selection, entries, wanted)
        for name in location.tree.loops:
            selection.leave_out(name, "loops")
        for name in location.tree.repeated:
            selection.leave_out(name, "repeated")
    if not wanted.keep_defective:
        _refuse_defects(selection)
    return selection


def _matches(location: Location, name: str) -> bool:
    return location.kind != "glob" or matches(location.pattern, name.split("/"))


def _select_by_name(selection: Selection, entries: Sequence[Entry], wanted: Wanted) -> None:
    location = selection.location
    by_verdict = defaultdict[str, list[Entry]](list)
    for entry in entries:
        by_verdict[_judge_name(entry, location, wanted)].append(entry)
    for entry in by_verdict["read"]:
        selection.add(entry, wanted.stated_format or names.find_format(entry.name) or "")
    others = by_verdict["other_formats"] + _select_by_content(selection, by_verdict["undecided"])
    if wanted.stated_format and location.kind == "glob" and not selection.entries:
        for entry in others:
            selection.add(entry, wanted.stated_format)
        others = []
    _drop_repeated(selection, {entry.name for entry in by_verdict["undecided"]})
    inodes = {entry.inode for entry in selection.entries.values()} - {(0, 0)}
    hidden_data = [entry for entry in by_verdict["hidden_data"] if entry.inode not in inodes]
    for kind, found in (("other_formats", others), ("hidden_data", hidden_data), ("hidden", by_verdict["hidden"])):
        selection.left_out[kind].update(entry.name for entry in found)
    markers = [entry.name for entry in by_verdict["markers"]] + _list_marker_directories(location)
    # DVC keeps a pointer beside each file; one without its file was not fetched.
    pointers = {f"{entry.name}.dvc" for entry in entries} & selection.left_out["other_formats"]
    selection.left_out["other_formats"] -= pointers
    markers += pointers
    selection.left_out["markers"].update(map(names.shorten_marker, markers))


def _list_marker_directories(location: Location) -> list[str]:
    return [
        name
        for name in location.tree.directories
        if names.is_marker_directory(name.rpartition("/")[2])
        and (location.kind == "directory" or may_lead_to_match(location.pattern, name.split("/")))
    ]


def _judge_name(entry: Entry, location: Location, wanted: Wanted) -> str:
    """Return `read`, `undecided` when the content must tell, or the kind of the files that are left out."""
    base = entry.name.rpartition("/")[2]
    kind, found = names.classify(entry.name, location.names_hidden), names.find_format(base)
    if kind:
        return kind
    if found in wanted.formats:
        return "read"
    if found is None and wanted.stated_format and (location.kind == "glob" or names.is_part_name(base)):
        return "read"
    may_be_parquet = PARQUET in wanted.formats and names.may_be_parquet(base)
    return "undecided" if found is None and may_be_parquet and not entry.defect else "other_formats"


def _select_by_content(selection: Selection, undecided: Sequence[Entry]) -> list[Entry]:
    """Add the files that begin as Parquet does, and return the others."""
    location = selection.location
    large = [entry for entry in undecided if entry.bytes >= MIN_PARQUET_BYTES]
    paths = [location.path(entry.name) for entry in large]
    starts = location.fs.cat_ranges(paths, [0] * len(large), [4] * len(large), on_error="return") if large else []
    for entry, start in zip(large, starts, strict=True):
        if isinstance(start, Exception):
            _refuse_fault(start, location)
        if start == PARQUET_MAGIC:
            selection.add(entry, PARQUET)
    return [entry for entry in undecided if entry.name not in selection.entries]


def _refuse_fault(error: Exception, location: Location) -> None:
    """Raise an error that may pass by itself. A local file without the right to read it is left out."""
    if is_passing(error) and not (is_local(location.fs) and isinstance(error, PermissionError)):
        raise error


def _drop_repeated(selection: Selection, without_ending: Collection[str]) -> None:
    """Leave out links to files that are read under their own name, so that no row is read twice.

    A file without an ending is left out instead: it is the blob of a cache, and the links have the names.
    """
    files = {entry.inode: entry.name for entry in selection.entries.values() if not entry.is_link}
    for entry in list(selection.entries.values()):
        target = files.get(entry.inode) if entry.is_link and entry.inode != (0, 0) else None
        if target and _is_same_path(selection.location, entry.name, target):
            is_blob = target in without_ending and entry.name not in without_ending
            selection.leave_out(target if is_blob else entry.name, "repeated")


def _is_same_path(location: Location, *same: str) -> bool:
    """Whether names lead to one path; two hard links to a file are two files with equal content."""
    return len({os.path.realpath(location.path(name)) for name in same}) == 1


def _refuse_defects(selection: Selection) -> None:
    """Raise DataError for a broken link and for a name that is not UTF-8; leave out what is no regular file."""
    for entry in list(selection.entries.values()):
        path = selection.location.path(entry.name)
        if entry.defect and entry.inode != (0, 0) and selection.location.kind != "file":
            selection.leave_out(entry.name, "special")
        elif entry.defect:
            raise DataError(f"{path} {entry.defect}.")
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = path.encode(errors="surrogateescape").decode(errors="replace")
            raise DataError(f"{shown}: the name is not UTF-8, so no report could show it. Rename the file.") from None
