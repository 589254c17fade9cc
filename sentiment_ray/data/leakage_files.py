"""The files in which the comparison of texts hands its result to the tasks that split the rows.

For every bucket there is one table of near duplicates, and two of rows that are also in the test set.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from numpy.typing import NDArray

from sentiment_ray.data.hashing import HASH_TYPE, read_hashes

DIRECTORY = "_checks"
NO_FIXED_SPLIT = -1
NEAR_DUPLICATES_SCHEMA = pa.schema(
    [
        ("hash", HASH_TYPE),
        ("cluster", pa.int64()),
        ("leader", HASH_TYPE),
        ("fixed_split", pa.int8()),
        ("is_example", pa.bool_()),
    ]
)
"""`cluster` is a number, `leader` the smallest hash of the cluster, `fixed_split` the index in SPLITS of the split that
a source fixes for one of its rows, or NO_FIXED_SPLIT. The report shows clusters that are an example."""
LEAKED_SCHEMA = pa.schema([("hash", HASH_TYPE), ("test_set_id", pa.string()), ("is_equal", pa.bool_())])
"""`test_set_id` is the id of the equal row of the test set, or of the most similar one."""


@dataclass(frozen=True)
class BucketMatches:
    """The texts of a bucket that are near duplicates or in the test set, one row for each text."""

    near_duplicates: pa.Table
    leaked: pa.Table

    def fix_clusters(
        self, hashes: pa.Array, words: NDArray[np.uint32], fixed_splits: NDArray[np.intp]
    ) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
        """Give every text of a cluster the hash and the fixed split of its cluster.

        `words` `(hashes, 4)` are the hashes as words, `fixed_splits` `(hashes,)` an index in SPLITS or NO_FIXED_SPLIT.
        Both are returned anew, changed for the texts that are in a cluster.
        """
        rows = find_rows(self.near_duplicates, hashes)
        in_cluster = rows >= 0
        leaders = read_hashes(self.near_duplicates["leader"])
        words, fixed_splits = words.copy(), fixed_splits.copy()
        words[in_cluster] = leaders[rows[in_cluster]]
        fixed_splits[in_cluster] = self.near_duplicates["fixed_split"].to_numpy()[rows[in_cluster]]
        return words, fixed_splits


def find_rows(table: pa.Table, hashes: pa.Array) -> NDArray[np.intp]:
    """Return the index of the row of `table` that has each hash, or -1: `(hashes,)`."""
    rows = pc.index_in(hashes, value_set=table["hash"].combine_chunks())
    return pc.fill_null(rows, -1).to_numpy(zero_copy_only=False).astype(np.intp)


def write_table(directory: Path, name: str, table: pa.Table) -> None:
    """Write a table for another task under `directory`."""
    path = directory / DIRECTORY / f"{name}.arrow"
    path.parent.mkdir(exist_ok=True)
    feather.write_feather(table, path, compression="lz4")


def read_table(directory: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read a table that another task wrote. Without its file the table is empty."""
    path = directory / DIRECTORY / f"{name}.arrow"
    return feather.read_table(path) if path.is_file() else schema.empty_table()


def read_bucket_matches(directory: Path, bucket: int) -> BucketMatches:
    """Read what the comparison found among the texts of a bucket: nothing, if there was no comparison."""
    leaked = [read_table(directory, f"{kind}-{bucket:05d}", LEAKED_SCHEMA) for kind in ("equal", "similar")]
    near_duplicates = read_table(directory, f"near_duplicates-{bucket:05d}", NEAR_DUPLICATES_SCHEMA)
    return BucketMatches(near_duplicates, pa.concat_tables(leaked))
