"""Compares the texts with one another and with the texts of an external test set. Starts no tasks.

Three kinds of tasks pass their results on in files. `write_test_set` sorts the test set into buckets,
`write_signatures` computes the signatures of one bucket, and `compare_texts` finds near duplicates among all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from numpy.typing import NDArray

from sentiment_ray.data import leakage_files as files
from sentiment_ray.data.config import SPLITS
from sentiment_ray.data.hashing import HASH_TYPE, assign_buckets, hash_texts, read_hashes, to_arrow
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.near_duplicates import (
    NUM_PERMUTATIONS,
    compute_signatures,
    find_clusters,
    find_most_similar,
    hash_words,
    split_masked_words,
)
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.shuffle import read_bucket
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.validate import clean_texts

TEXTS_AT_ONCE = 4096
"""Texts that are split into words at once: the words take ten times the memory of their text."""
MAX_EXAMPLE_CLUSTERS = 6
TEST_SET_SCHEMA = pa.schema([("bucket", pa.int32()), ("hash", HASH_TYPE), ("id", pa.string()), ("text", pa.string())])
SIGNATURES_SCHEMA = pa.schema(
    [("hash", HASH_TYPE), ("id", pa.string()), ("word_hash", pa.uint64()), ("fixed_split", pa.int8()),
     ("is_leaked", pa.bool_()), ("signature", pa.binary(4 * NUM_PERMUTATIONS))]
)  # fmt: skip
"""`is_leaked` is true for a text that equals one of the test set, so that it needs no similar one."""


@dataclass(frozen=True)
class Comparison:
    """Counts of the comparison. Texts are distinct here: equal rows count as one text."""

    num_texts: int = 0
    """Texts that were compared."""
    num_test_set_texts: int = 0
    equal_once_masked: int = 0
    """Texts beyond the first of those that are equal once links, handles and RT are masked."""
    similar: int = 0
    """Texts beyond the first of their cluster, without those."""
    num_clusters: int = 0
    largest_cluster: int = 0
    share: float = 1.0
    """Share of the texts that were compared. Equal texts of the test set are found among all texts."""
    test_set_share: float = 1.0
    """Share of the test set's texts with which they were compared."""


def write_test_set(job: PrepareJob, number: int, tasks: Sequence[ReadTask], sources: Sequence[Source]) -> int:
    """Write the texts of some files of the test set, by bucket, and return how many there are.

    Raises DataError for a file that cannot be read.
    """
    parts = []
    for task in tasks:
        for raw in read_tables(task, sources[task.source_index]):
            table, _ = clean_texts(raw, job.config.clean)
            table = table.filter(pc.is_valid(table["text"]))
            words = hash_texts(table["text"].to_pylist(), seed=job.config.seed)
            columns = {"hash": to_arrow(words), "id": table["id"], "text": table["text"]}
            bucket = pa.array(assign_buckets(words, job.num_buckets).astype(np.int32))
            parts.append(pa.table({"bucket": bucket} | columns, schema=TEST_SET_SCHEMA))
    if not parts:
        return 0
    test_set = pa.concat_tables(parts)
    for bucket in range(job.num_buckets):
        in_bucket = test_set.filter(pc.equal(test_set["bucket"], bucket))
        if len(in_bucket):
            files.write_table(job.directory, f"test_set-{bucket:05d}-{number:05d}", in_bucket)
    return len(test_set)


def write_signatures(
    job: PrepareJob, bucket: int, bucket_files: Sequence[Path], share: float, test_set_share: float
) -> None:
    """Write which kept texts of a bucket equal one of the test set, and the signatures of both.

    Only `share` of the texts and `test_set_share` of the test set get a signature. They are chosen by a hash of the
    masked text, so that of texts that are equal once masked, all or none are chosen.
    """
    texts = _read_distinct_texts(job, bucket, bucket_files)
    paths = sorted((job.directory / files.DIRECTORY).glob(f"test_set-{bucket:05d}-*.arrow"))
    test_set = pa.concat_tables([feather.read_table(path) for path in paths] or [TEST_SET_SCHEMA.empty_table()])
    test_set = test_set.sort_by("id")
    row = pc.index_in(texts["hash"], value_set=test_set["hash"].combine_chunks())
    is_leaked = pc.is_valid(row)
    equal = texts["hash"].filter(is_leaked)
    ids = test_set["id"].take(pc.drop_null(row))
    leaked = pa.table([equal, ids, pa.array([True] * len(equal), pa.bool_())], schema=files.LEAKED_SCHEMA)
    files.write_table(job.directory, f"equal-{bucket:05d}", leaked)
    if job.config.near_duplicates:
        signatures = _sign(texts.append_column("is_leaked", is_leaked), share)
        files.write_table(job.directory, f"signatures-{bucket:05d}", signatures)
        no_split = pa.array([files.NO_FIXED_SPLIT] * len(test_set), pa.int8())
        test_set = test_set.append_column("fixed_split", no_split)
        test_set = test_set.append_column("is_leaked", pa.array([True] * len(test_set), pa.bool_()))
        files.write_table(job.directory, f"test_set_signatures-{bucket:05d}", _sign(test_set, test_set_share))


def compare_texts(job: PrepareJob) -> Comparison:
    """Find the clusters of near duplicates and the texts that resemble one of the test set; write both by bucket."""
    threshold = job.config.near_duplicate_threshold
    texts, test_set = (_read_all_signatures(job, kind) for kind in ("signatures", "test_set_signatures"))
    signatures = _unpack_signatures(texts)
    _write_similar(job, texts, signatures, test_set)
    cluster = find_clusters(texts["word_hash"].to_numpy(), signatures, threshold=threshold)
    sizes = np.bincount(cluster, minlength=1)
    in_cluster = np.flatnonzero(sizes[cluster] > 1)
    near_duplicates = _describe_clusters(texts.take(pa.array(in_cluster)), cluster[in_cluster])
    _write_by_bucket(job, "near_duplicates", near_duplicates)
    num_clusters = int((sizes > 1).sum())
    equal_once_masked = len(texts) - len(pc.unique(texts["word_hash"]))
    return Comparison(
        num_texts=len(texts),
        equal_once_masked=equal_once_masked,
        similar=len(in_cluster) - num_clusters - equal_once_masked,
        num_clusters=num_clusters,
        largest_cluster=int(sizes.max()),
    )


def _read_distinct_texts(job: PrepareJob, bucket: int, bucket_files: Sequence[Path]) -> pa.Table:
    """Return one row for each text of a bucket that has one label: its first row, with the fixed split of any row."""
    table = read_bucket(bucket_files, bucket)
    words = read_hashes(table["hash"])
    order = np.lexsort((*(table[name].to_numpy() for name in ("row", "file", "source")), *words.T))
    table, words = table.take(pa.array(order)), words[order]
    columns = ["hash", "id", "text"]
    if not len(table):
        return table.select(columns).append_column("fixed_split", pa.array([], pa.int8()))
    starts = np.flatnonzero(np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)]))
    label = table["label"].to_numpy()
    has_one_label = np.minimum.reduceat(label, starts) == np.maximum.reduceat(label, starts)
    split_of_source = np.array(
        [SPLITS.index(each.split) if each.split in SPLITS else files.NO_FIXED_SPLIT for each in job.config.sources]
    )
    fixed_split = np.maximum.reduceat(split_of_source[table["source"].to_numpy()], starts)[has_one_label]
    texts = table.select(columns).take(pa.array(starts[has_one_label])).combine_chunks()
    return texts.append_column("fixed_split", pa.array(fixed_split, pa.int8()))


def _sign(table: pa.Table, share: float) -> pa.Table:
    """Return the chosen texts with their signatures. A text without words resembles none and is left out."""
    word_hashes, chosen, signatures = [], [], []
    for start in range(0, len(table), TEXTS_AT_ONCE):
        words = split_masked_words(table["text"].slice(start, TEXTS_AT_ONCE))
        hashes = hash_words(words)
        has_words = np.array([bool(each) for each in words], dtype=np.bool_)
        rows = np.flatnonzero((hashes / 2**64 <= share) & has_words)
        word_hashes.append(hashes[rows])
        chosen.append(rows + start)
        signatures.append(compute_signatures([words[row] for row in rows]))
    table = table.take(pa.array(np.concatenate([*chosen, np.zeros(0, dtype=np.intp)])))
    packed = pa.py_buffer(b"".join(each.tobytes() for each in signatures))
    columns = {name: table[name] for name in ("hash", "id", "fixed_split", "is_leaked")}
    columns["word_hash"] = pa.array(np.concatenate([*word_hashes, np.zeros(0, dtype=np.uint64)]), pa.uint64())
    columns["signature"] = pa.Array.from_buffers(SIGNATURES_SCHEMA.field("signature").type, len(table), [None, packed])
    return pa.table([columns[name] for name in SIGNATURES_SCHEMA.names], schema=SIGNATURES_SCHEMA)


def _read_all_signatures(job: PrepareJob, kind: str) -> pa.Table:
    names = [f"{kind}-{bucket:05d}" for bucket in range(job.num_buckets)]
    return pa.concat_tables(
        [files.read_table(job.directory, name, SIGNATURES_SCHEMA) for name in names]
    ).combine_chunks()


def _unpack_signatures(table: pa.Table) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(table["signature"].to_pylist()), dtype=np.uint32).reshape(-1, NUM_PERMUTATIONS)


def _write_similar(job: PrepareJob, texts: pa.Table, signatures: NDArray[np.uint32], test_set: pa.Table) -> None:
    """Write the texts that equal none of the test set, but resemble one."""
    rows = np.flatnonzero(~texts["is_leaked"].to_numpy(zero_copy_only=False))
    most_similar = find_most_similar(
        signatures[rows], _unpack_signatures(test_set), threshold=job.config.near_duplicate_threshold
    )
    is_similar = most_similar >= 0
    leaked = [
        texts["hash"].take(pa.array(rows[is_similar])),
        test_set["id"].take(pa.array(most_similar[is_similar])),
        pa.array([False] * int(is_similar.sum()), pa.bool_()),
    ]
    _write_by_bucket(job, "similar", pa.table(leaked, schema=files.LEAKED_SCHEMA))


def _describe_clusters(table: pa.Table, cluster: NDArray[np.intp]) -> pa.Table:
    """Return the texts in clusters, each with its cluster's leader and fixed split.

    The clusters with the smallest leaders are the examples of the report.
    """
    words = read_hashes(table["hash"])
    order = np.lexsort((*words.T[::-1], cluster))
    table, words, cluster = table.take(pa.array(order)), words[order], cluster[order]
    is_first = np.diff(cluster, prepend=-1) != 0
    starts, number = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    leaders = words[starts]
    fixed_split = np.zeros(0)
    if len(starts):
        fixed_split = np.maximum.reduceat(table["fixed_split"].to_numpy(), starts)[number]
    examples = np.lexsort(leaders.T[::-1])[:MAX_EXAMPLE_CLUSTERS]
    return pa.table(
        [table["hash"], pa.array(number, pa.int64()), to_arrow(leaders[number]),
         pa.array(fixed_split, pa.int8()), pa.array(np.isin(number, examples), pa.bool_())],
        schema=files.NEAR_DUPLICATES_SCHEMA,
    )  # fmt: skip


def _write_by_bucket(job: PrepareJob, name: str, table: pa.Table) -> None:
    buckets = assign_buckets(read_hashes(table["hash"]), job.num_buckets)
    for bucket in np.unique(buckets):
        part = table.filter(pa.array(buckets == bucket))
        files.write_table(job.directory, f"{name}-{bucket:05d}", part)
