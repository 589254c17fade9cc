"""Finds texts that are nearly equal by MinHash; knows texts and signatures, no files, splits or Ray.

Texts are compared by their words once links, @handles and the retweet mark are masked and case is folded: a text is
the set of pairs of neighbouring words, and two are near duplicates when the estimated Jaccard similarity of these sets
reaches a threshold (Broder 1997; candidates by banding, Indyk and Motwani 1998).
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NUM_PERMUTATIONS = 128
MASKED = r"\bhttps?://\S+|\bwww\.\S+|@\w+|\brt\b"
CJK = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(f"[{CJK}]|[^\\W{CJK}]+")
"""A word, or a letter of a script that puts no blanks between its words."""
LONGEST_TEXT = 20_000
"""Characters of a text that are compared."""
FAVOUR_FINDING = (0.1, 0.9)
"""Weights of false candidates, which are thrown out again, and of missed ones."""


def masked_words(texts: pa.Array) -> list[list[str]]:
    """Return the words of each text by which it is compared; none for a text of links and handles alone."""
    plain = pc.utf8_lower(pc.utf8_normalize(pc.utf8_slice_codeunits(texts, 0, LONGEST_TEXT), form="NFKC"))
    masked = pc.replace_substring_regex(plain, pattern=MASKED, replacement=" ")
    return [WORD.findall(text) for text in masked.to_pylist()]


def keys_of(words: Sequence[Sequence[str]]) -> NDArray[np.uint64]:
    """Return a number of 64 bits for each text, equal for texts whose masked words are equal: `(texts,)`."""
    digests = (blake2b(" ".join(each).encode(), digest_size=8, person=b"near").digest() for each in words)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def signatures_of(words: Sequence[Sequence[str]]) -> NDArray[np.uint32]:
    """Return a MinHash signature for each text, uint32 `(texts, NUM_PERMUTATIONS)`."""
    signatures = np.empty((len(words), NUM_PERMUTATIONS), dtype=np.uint32)
    shingles = ([pair.encode() for pair in _shingles(each)] for each in words)
    for row, sketch in enumerate(MinHash.generator(shingles, num_perm=NUM_PERMUTATIONS, seed=1)):
        signatures[row] = sketch.hashvalues
    return signatures


def components(keys: NDArray[np.uint64], signatures: NDArray[np.uint32], *, threshold: float) -> NDArray[np.intp]:
    """Return the number of the cluster that each text belongs to, `(texts,)`; a text alone has one of its own.

    A cluster is what is linked by pairs that share a band and reach the threshold, so a text that reaches none of an
    old cluster's texts changes nothing about the cluster.
    """
    distinct, first, of_distinct = np.unique(keys, return_index=True, return_inverse=True)
    signatures = signatures[first]
    edges = [pair for group in _groups(signatures, threshold) for pair in _links(signatures, group, threshold)]
    ends = np.array(edges, dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(distinct),) * 2)
    found: NDArray[np.intp] = connected_components(graph, directed=False)[1][of_distinct].astype(np.intp)
    return found


def nearest(signatures: NDArray[np.uint32], known: NDArray[np.uint32], *, threshold: float) -> NDArray[np.intp]:
    """Return for each signature the place of a similar one of `known`, -1 where none reaches the threshold: `(texts,)`.

    It is the most similar one of those that share the first band in which there is any.
    """
    place = np.full(len(signatures), -1, dtype=np.intp)
    for group in _groups(np.concatenate([signatures, known]), threshold):
        rows, others = group[group < len(signatures)], group[group >= len(signatures)] - len(signatures)
        if not len(others):
            continue
        candidates = known[others]
        for row in rows[place[rows] < 0]:
            alike = (candidates == signatures[row]).mean(axis=1)
            best = int(alike.argmax())
            if alike[best] >= threshold:
                place[row] = others[best]
    return place


def _shingles(words: Sequence[str]) -> set[str]:
    return {f"{first} {second}" for first, second in zip(["", *words], [*words, ""], strict=True)}


def _groups(signatures: NDArray[np.uint32], threshold: float) -> Iterator[NDArray[np.intp]]:
    """Yield the rows, in ascending order, that agree in a band with another row, band by band."""
    banding = MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS, weights=FAVOUR_FINDING)
    random = np.random.default_rng(0)
    for band in range(banding.b):
        words = signatures[:, band * banding.r : (band + 1) * banding.r].astype(np.uint64)
        # Rows that agree by chance of this hash alone are thrown out when their signatures are compared.
        keys = words @ random.integers(1, 2**63, size=banding.r, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order))
        sizes = np.diff(ends, prepend=0)
        for end, size in zip(ends[sizes > 1], sizes[sizes > 1], strict=True):
            yield order[end - size : end]


def _links(signatures: NDArray[np.uint32], group: NDArray[np.intp], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield pairs that reach the threshold: as many as it takes to link all rows of a group that are linked at all."""
    left = group
    while len(left):
        waiting, left = [left[0]], left[1:]
        while waiting and len(left):
            row = waiting.pop()
            alike = (signatures[left] == signatures[row]).mean(axis=1) >= threshold
            yield from ((int(row), int(other)) for other in left[alike])
            waiting.extend(left[alike])
            left = left[~alike]
