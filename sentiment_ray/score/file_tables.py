"""Files of an output as Arrow tables, so that a million of them take little memory; reads no file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.file_versions import FileInfo
from sentiment_ray.paths import decode_name, encode_name, to_utf8
from sentiment_ray.storage import Store

LISTING_SCHEMA = pa.schema([("name", pa.binary()), ("bytes", pa.int64()), ("version", pa.string())])
"""What a listing says of a file."""
WRITTEN_SCHEMA = pa.schema([("unit", pa.int64()), *LISTING_SCHEMA, ("sha256", pa.string())])
"""What the writer of a file said of it. `unit` is the number of its unit, or NO_UNIT."""
NO_UNIT = -1


@dataclass(frozen=True)
class WrittenFile:
    """A file of an output as its writer knows it."""

    bytes: int
    sha256: str
    version: str = ""
    """What the store said of the file right after it was written, which changes with its content; see `FileInfo`."""

    def describe(self) -> dict[str, Any]:
        """Return the entry of the file in the manifest."""
        return {"bytes": self.bytes, "sha256": self.sha256}


Files = dict[str, WrittenFile]
"""Files by name."""


def list_files(store: Store, under: str = "") -> pa.Table:
    """Return every file below a directory of the store as a table of LISTING_SCHEMA, in any order."""
    return pa.concat_tables([LISTING_SCHEMA.empty_table(), *store.map_pages(_make_listing, under)])


def make_written_table(files: Mapping[str, WrittenFile]) -> pa.Table:
    """Return files that belong to no unit as a table of WRITTEN_SCHEMA."""
    columns = {
        "unit": [NO_UNIT] * len(files),
        "name": [encode_name(name) for name in files],
        "bytes": [file.bytes for file in files.values()],
        "version": [to_utf8(file.version) for file in files.values()],
        "sha256": [file.sha256 for file in files.values()],
    }
    return pa.table(columns, schema=WRITTEN_SCHEMA)


def find_rows(names: pa.ChunkedArray, table: pa.Table) -> NDArray[np.int64]:
    """Return for each name its row in a table with the column `name`, int64 `(names,)`; -1 where it is not there."""
    found = pc.fill_null(pc.index_in(names, value_set=table["name"]), -1)
    return np.asarray(found.to_numpy(), np.int64)


def compare_sizes(written: pa.Table, present: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each written file its row in a listing, -1 where it is missing, and whether its size is the same."""
    rows = find_rows(written["name"], present)
    sizes = np.append(present["bytes"].to_numpy(), -1)
    return rows, sizes[rows] == written["bytes"].to_numpy()


def read_names(table: pa.Table) -> list[str]:
    """Return the names of a table."""
    return [decode_name(name) for name in table["name"].to_pylist()]


def iterate_files(table: pa.Table, rows_at_once: int = 10_000) -> Iterator[Files]:
    """Yield the files of a table of WRITTEN_SCHEMA by name, some at a time."""
    for start in range(0, table.num_rows, rows_at_once):
        rows: Iterable[dict[str, Any]] = table.slice(start, rows_at_once).to_pylist()
        yield {decode_name(row["name"]): WrittenFile(row["bytes"], row["sha256"], row["version"]) for row in rows}


def _make_listing(page: Mapping[str, FileInfo]) -> pa.Table:
    names, infos = [encode_name(name) for name in page], page.values()
    columns = [names, [info.bytes for info in infos], [to_utf8(info.version) for info in infos]]
    return pa.table(columns, schema=LISTING_SCHEMA)
