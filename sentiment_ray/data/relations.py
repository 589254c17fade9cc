"""Which rows of a bucket are near duplicates of others or stand in a test set: how tasks tell one another, in files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from numpy.typing import NDArray

from sentiment_ray.data.hashing import HASH_BYTES, words_of

DIRECTORY = "_checks"
NOT_PINNED = -1
HASH = pa.binary(HASH_BYTES)
NEAR = pa.schema([("hash", HASH), ("cluster", pa.int64()), ("leader", HASH), ("pin", pa.int8()), ("shown", pa.bool_())])
"""`cluster` is its number, `leader` its smallest hash, `pin` the split that one of its rows is pinned to."""
LEAKED = pa.schema([("hash", HASH), ("known", pa.string()), ("is_exact", pa.bool_())])
"""`known` is the id of the equal or most similar row of the test set."""


@dataclass(frozen=True)
class Relations:
    """The rows of a bucket that are related to others, one for each of their texts."""

    near: pa.Table
    leaked: pa.Table

    def place_in(self, table: pa.Table, hashes: pa.Array) -> NDArray[np.intp]:
        """Return the row of `near` or `leaked` that each hash has, or -1: `(hashes,)`."""
        found = pc.index_in(hashes, value_set=table["hash"].combine_chunks())
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.intp)

    def together(
        self, hashes: pa.Array, words: NDArray[np.uint32], pinned: NDArray[np.intp]
    ) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
        """Return the words `(hashes, 4)` that decide the split, those of the cluster's leader, and the pins."""
        place = self.place_in(self.near, hashes)
        in_cluster = place >= 0
        leaders, pins = words_from(self.near["leader"]), self.near["pin"].to_numpy()
        words, pinned = words.copy(), pinned.copy()
        words[in_cluster] = leaders[place[in_cluster]]
        pinned[in_cluster] = pins[place[in_cluster]]
        return words, pinned


def hashes_from(words: NDArray[np.uint32]) -> pa.Array:
    """Return words `(hashes, 4)` as an Arrow array of hashes."""
    return pa.Array.from_buffers(HASH, len(words), [None, pa.py_buffer(np.ascontiguousarray(words).tobytes())])


def words_from(column: pa.ChunkedArray) -> NDArray[np.uint32]:
    """Return the words `(hashes, 4)` of a column of hashes."""
    return words_of(b"".join(column.to_pylist()))


def write_table(directory: Path, name: str, table: pa.Table) -> None:
    """Write a table for another task under `directory`."""
    path = directory / DIRECTORY / f"{name}.arrow"
    path.parent.mkdir(exist_ok=True)
    feather.write_feather(table, path, compression="lz4")


def read_table(directory: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read a table that another task wrote; an empty one when none did."""
    path = directory / DIRECTORY / f"{name}.arrow"
    return feather.read_table(path) if path.is_file() else schema.empty_table()


def relations_of(directory: Path, bucket: int) -> Relations:
    """Return what is known of a bucket's rows; nothing when nobody looked."""
    leaked = [read_table(directory, f"{kind}-{bucket:05d}", LEAKED) for kind in ("exact", "similar")]
    return Relations(read_table(directory, f"near-{bucket:05d}", NEAR), pa.concat_tables(leaked))
