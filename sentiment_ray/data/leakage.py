"""Signs the rows of every bucket and relates them to one another and to the rows of an external test set.

Three kinds of tasks, which tell one another through files: rows of the test set to buckets, a bucket to its signed
rows, and all signed rows to clusters and resemblances. Knows files and the configuration; starts no tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from numpy.typing import NDArray

from sentiment_ray.data import relations as files
from sentiment_ray.data.config import SPLITS, Source
from sentiment_ray.data.hashing import bucket_of, hash_texts
from sentiment_ray.data.near_duplicates import (
    NUM_PERMUTATIONS,
    components,
    keys_of,
    masked_words,
    nearest,
    signatures_of,
)
from sentiment_ray.data.readers.rows import read_unit
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.data.shuffle import Plan, read_bucket
from sentiment_ray.data.validate import clean_texts

ROWS_AT_ONCE = 4096
"""Texts that are spread into words at once: words take ten times the memory of their text."""
MAX_SHOWN = 6
"""Clusters that the report shows."""
KNOWN = pa.schema([("bucket", pa.int32()), ("hash", files.HASH), ("id", pa.string()), ("text", pa.string())])
SIGNED = pa.schema(
    [("hash", files.HASH), ("id", pa.string()), ("key", pa.uint64()), ("pin", pa.int8()),
     ("is_open", pa.bool_()), ("signature", pa.binary(4 * NUM_PERMUTATIONS))]
)  # fmt: skip
"""`is_open` is false for a row that equals one of the test set already."""


@dataclass(frozen=True)
class Related:
    """What became of all signed rows; texts here are distinct ones."""

    texts: int = 0
    """Texts that were compared."""
    known: int = 0
    """Texts of the test set."""
    equal_once_masked: int = 0
    """Texts beyond the first of those that are equal once links, handles and RT are masked."""
    similar: int = 0
    """Texts beyond the first of their cluster, without those."""
    clusters: int = 0
    largest: int = 0
    share: float = 1.0
    """Share of the texts that were compared; equality with the test set is looked for among all."""
    known_share: float = 1.0
    """Share of the test set's texts that they were compared with."""


def collect_known(plan: Plan, number: int, units: Sequence[Unit], sources: Sequence[Source]) -> int:
    """Write the texts of an external test set for the buckets; return how many there are. DataError as reading."""
    found, count = [], 0
    for unit in units:
        for raw in read_unit(unit, sources[unit.source]):
            table, _ = clean_texts(raw, plan.config.clean)
            table = table.filter(pc.is_valid(table["text"]))
            words = hash_texts(table["text"].to_pylist(), seed=plan.config.seed)
            columns = {"hash": files.hashes_from(words), "id": table["id"], "text": table["text"]}
            bucket = pa.array(bucket_of(words, plan.num_buckets).astype(np.int32))
            found.append(pa.table({"bucket": bucket} | columns, schema=KNOWN))
            count += len(table)
    if found:
        whole = pa.concat_tables(found)
        for bucket in range(plan.num_buckets):
            part = whole.filter(pc.equal(whole["bucket"], bucket))
            if len(part):
                files.write_table(plan.directory, f"known-{bucket:05d}-{number:05d}", part)
    return count


def sign(plan: Plan, bucket: int, bucket_files: Sequence[Path], share: float, known_share: float) -> None:
    """Write the signed rows of a bucket, one for each text that is kept, and those that equal one of the test set.

    The shares are those of the texts that are signed, chosen by the text once masked, so that all its spellings are.
    """
    rows = _distinct(plan, pa.concat_tables([read_bucket(path, bucket) for path in bucket_files]))
    paths = sorted((plan.directory / files.DIRECTORY).glob(f"known-{bucket:05d}-*.arrow"))
    known = pa.concat_tables([feather.read_table(path) for path in paths] or [KNOWN.empty_table()]).sort_by("id")
    place = pc.index_in(rows["hash"], value_set=known["hash"].combine_chunks())
    is_exact = pc.is_valid(place)
    exact = rows.filter(is_exact)
    ids = known["id"].take(pc.drop_null(place))
    table = pa.table([exact["hash"], ids, pa.array([True] * len(exact), pa.bool_())], schema=files.LEAKED)
    files.write_table(plan.directory, f"exact-{bucket:05d}", table)
    if plan.config.near_duplicates:
        signed = _signed(rows.append_column("is_open", pc.invert(is_exact)), share)
        files.write_table(plan.directory, f"signed-{bucket:05d}", signed)
        known = known.append_column("pin", pa.array([files.NOT_PINNED] * len(known), pa.int8()))
        known = known.append_column("is_open", pa.array([False] * len(known), pa.bool_()))
        files.write_table(plan.directory, f"signed-known-{bucket:05d}", _signed(known, known_share))


def relate(plan: Plan) -> Related:
    """Find the clusters among all signed rows, and the rows that resemble one of the test set; write both by bucket."""
    threshold = plan.config.near_duplicate_threshold
    table, known = (
        pa.concat_tables([files.read_table(plan.directory, f"{kind}-{bucket:05d}", SIGNED)
                          for bucket in range(plan.num_buckets)]).combine_chunks()
        for kind in ("signed", "signed-known")
    )  # fmt: skip
    words, keys, signatures = files.words_from(table["hash"]), table["key"].to_numpy(), _signatures(table)
    open_rows = np.flatnonzero(table["is_open"].to_numpy(zero_copy_only=False))
    place = nearest(signatures[open_rows], _signatures(known), threshold=threshold)
    similar = open_rows[place >= 0]
    leaked = pa.table(
        [table["hash"].take(pa.array(similar)), known["id"].take(pa.array(place[place >= 0])),
         pa.array([False] * len(similar), pa.bool_())],
        schema=files.LEAKED,
    )  # fmt: skip
    _write_by_bucket(plan, "similar", leaked)
    cluster = components(keys, signatures, threshold=threshold)
    in_cluster = np.flatnonzero(np.bincount(cluster)[cluster] > 1) if len(cluster) else np.zeros(0, dtype=np.intp)
    near = _near(table.take(pa.array(in_cluster)), words[in_cluster], cluster[in_cluster])
    _write_by_bucket(plan, "near", near)
    sizes = np.bincount(cluster, minlength=1)
    masked_again = len(keys) - len(np.unique(keys))
    clusters = int((sizes > 1).sum())
    return Related(
        len(table), len(known), masked_again, len(in_cluster) - clusters - masked_again, clusters, int(sizes.max())
    )


def _distinct(plan: Plan, table: pa.Table) -> pa.Table:
    """Return one row for each text with one label: the first, with the split that one of its rows is pinned to."""
    words = files.words_from(table["hash"])
    order = np.lexsort((*(table[name].to_numpy() for name in ("row", "file", "source")), *words.T))
    table, words = table.take(pa.array(order)), words[order]
    if not len(table):
        empty = table.select(["hash", "id", "text"])
        return empty.append_column("pin", pa.array([], pa.int8()))
    starts = np.flatnonzero(np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)]))
    label = table["label"].to_numpy()
    is_kept = np.minimum.reduceat(label, starts) == np.maximum.reduceat(label, starts)
    sources = plan.config.sources
    pins = np.array([SPLITS.index(each.split) if each.split in SPLITS else files.NOT_PINNED for each in sources])
    pin = np.maximum.reduceat(pins[table["source"].to_numpy()], starts)[is_kept]
    kept = table.select(["hash", "id", "text"]).take(pa.array(starts[is_kept])).combine_chunks()
    return kept.append_column("pin", pa.array(pin, pa.int8()))


def _signed(table: pa.Table, share: float) -> pa.Table:
    """Return the chosen rows with their signatures; a text without a word resembles nothing."""
    keys, chosen, signatures = [], [], []
    for start in range(0, len(table), ROWS_AT_ONCE):
        words = masked_words(table["text"].slice(start, ROWS_AT_ONCE))
        found = keys_of(words)
        places = np.flatnonzero((found / 2**64 <= share) & np.array([bool(each) for each in words], dtype=np.bool_))
        keys.append(found[places])
        chosen.append(places + start)
        signatures.append(signatures_of([words[place] for place in places]))
    table = table.take(pa.array(np.concatenate([*chosen, np.zeros(0, dtype=np.intp)])))
    raw = pa.py_buffer(b"".join(each.tobytes() for each in signatures))
    columns = {name: table[name] for name in ("hash", "id", "pin", "is_open")}
    columns["key"] = pa.array(np.concatenate([*keys, np.zeros(0, dtype=np.uint64)]), pa.uint64())
    columns["signature"] = pa.Array.from_buffers(SIGNED.field("signature").type, len(table), [None, raw])
    return pa.table([columns[name] for name in SIGNED.names], schema=SIGNED)


def _signatures(table: pa.Table) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(table["signature"].to_pylist()), dtype=np.uint32).reshape(-1, NUM_PERMUTATIONS)


def _near(table: pa.Table, words: NDArray[np.uint32], cluster: NDArray[np.intp]) -> pa.Table:
    """Return rows of clusters with their leaders and pins; some clusters, in the order of leaders, are to be shown."""
    order = np.lexsort((*words.T[::-1], cluster))
    table, words, cluster = table.take(pa.array(order)), words[order], cluster[order]
    starts = np.flatnonzero(np.diff(cluster, prepend=-1))
    number = np.cumsum(np.diff(cluster, prepend=-1) != 0) - 1
    leader = words[starts][number]
    pin = np.maximum.reduceat(table["pin"].to_numpy(), starts)[number] if len(starts) else np.zeros(0)
    by_leader = np.lexsort(words[starts].T[::-1])[:MAX_SHOWN]
    shown = np.isin(number, by_leader)
    return pa.table(
        [table["hash"], pa.array(number, pa.int64()), files.hashes_from(leader), pa.array(pin, pa.int8()),
         pa.array(shown, pa.bool_())],
        schema=files.NEAR,
    )  # fmt: skip


def _write_by_bucket(plan: Plan, name: str, table: pa.Table) -> None:
    buckets = bucket_of(files.words_from(table["hash"]), plan.num_buckets)
    for bucket in np.unique(buckets):
        part = table.filter(pa.array(buckets == bucket))
        files.write_table(plan.directory, f"{name}-{bucket:05d}", part)
