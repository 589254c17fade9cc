"""Finds texts that are nearly equal, by MinHash. Knows texts and signatures; knows no files, splits or Ray.

Before texts are compared, links, @handles and the retweet mark are masked and case is folded. A text then counts as
the set of its pairs of neighbouring words. Two texts are near duplicates when the estimated Jaccard similarity of
their sets reaches a threshold (Broder 1997). Banding finds the candidates (Indyk and Motwani 1998).
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
MASK_PATTERN = r"\bhttps?://\S+|\bwww\.\S+|@\w+|\brt\b"
CJK = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(f"[{CJK}]|[^\\W{CJK}]+")
"""A word, or one letter of a script that puts no spaces between words."""
MAX_CHARACTERS = 20_000
"""Characters at the start of a text that are compared."""
BANDING_WEIGHTS = (0.1, 0.9)
"""Weights of false candidates and of missed ones. Missing one is worse: false ones are dropped by the comparison."""


def split_masked_words(texts: pa.Array) -> list[list[str]]:
    """Return the words by which each text is compared. A text of links and handles alone has none."""
    plain = pc.utf8_lower(pc.utf8_normalize(pc.utf8_slice_codeunits(texts, 0, MAX_CHARACTERS), form="NFKC"))
    masked = pc.replace_substring_regex(plain, pattern=MASK_PATTERN, replacement=" ")
    return [WORD.findall(text) for text in masked.to_pylist()]


def hash_words(words: Sequence[Sequence[str]]) -> NDArray[np.uint64]:
    """Return a hash of each text's masked words, uint64 `(texts,)`."""
    digests = (blake2b(" ".join(each).encode(), digest_size=8, person=b"near").digest() for each in words)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def compute_signatures(words: Sequence[Sequence[str]]) -> NDArray[np.uint32]:
    """Return a MinHash signature of each text's masked words, uint32 `(texts, NUM_PERMUTATIONS)`."""
    signatures = np.empty((len(words), NUM_PERMUTATIONS), dtype=np.uint32)
    pair_sets = ([pair.encode() for pair in _pair_words(each)] for each in words)
    for row, sketch in enumerate(MinHash.generator(pair_sets, num_perm=NUM_PERMUTATIONS, seed=1)):
        signatures[row] = sketch.hashvalues
    return signatures


def find_clusters(
    word_hashes: NDArray[np.uint64], signatures: NDArray[np.uint32], *, threshold: float
) -> NDArray[np.intp]:
    """Return the number of the cluster of each text, `(texts,)`. A text without near duplicates is a cluster alone.

    Texts are linked when they share a band and reach the threshold; a cluster is all texts that links connect. A new
    text that reaches no text of a cluster therefore never changes that cluster.
    """
    distinct, first, distinct_index = np.unique(word_hashes, return_index=True, return_inverse=True)
    signatures = signatures[first]
    links = [
        link for group in _band_groups(signatures, threshold) for link in _find_links(signatures, group, threshold)
    ]
    ends = np.array(links, dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(distinct),) * 2)
    clusters: NDArray[np.intp] = connected_components(graph, directed=False)[1][distinct_index].astype(np.intp)
    return clusters


def find_most_similar(
    signatures: NDArray[np.uint32], others: NDArray[np.uint32], *, threshold: float
) -> NDArray[np.intp]:
    """Return the index in `others` of a similar signature for each signature, `(texts,)`; -1 where there is none.

    Bands are tried in turn. The first band with a signature that reaches the threshold decides: of those that share
    it, the most similar one is returned.
    """
    best_index = np.full(len(signatures), -1, dtype=np.intp)
    for group in _band_groups(np.concatenate([signatures, others]), threshold):
        rows, candidates = group[group < len(signatures)], group[group >= len(signatures)] - len(signatures)
        if not len(candidates):
            continue
        for row in rows[best_index[rows] < 0]:
            similarity = (others[candidates] == signatures[row]).mean(axis=1)
            best = int(similarity.argmax())
            if similarity[best] >= threshold:
                best_index[row] = candidates[best]
    return best_index


def _pair_words(words: Sequence[str]) -> set[str]:
    return {f"{first} {second}" for first, second in zip(["", *words], [*words, ""], strict=True)}


def _band_groups(signatures: NDArray[np.uint32], threshold: float) -> Iterator[NDArray[np.intp]]:
    """Yield groups of rows, in ascending order, whose signatures agree in a band, band by band."""
    banding = MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS, weights=BANDING_WEIGHTS)
    random = np.random.default_rng(0)
    for band in range(banding.b):
        values = signatures[:, band * banding.r : (band + 1) * banding.r].astype(np.uint64)
        # Two bands may have one hash by chance. The comparison of the whole signatures drops such rows.
        hashes = values @ random.integers(1, 2**63, size=banding.r, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(hashes[order])) + 1, len(order))
        sizes = np.diff(ends, prepend=0)
        for end, size in zip(ends[sizes > 1], sizes[sizes > 1], strict=True):
            yield order[end - size : end]


def _find_links(signatures: NDArray[np.uint32], group: NDArray[np.intp], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows that reach the threshold, just enough of them to connect all rows that are connected."""
    unlinked = group
    while len(unlinked):
        queue, unlinked = [unlinked[0]], unlinked[1:]
        while queue and len(unlinked):
            row = queue.pop()
            is_similar = (signatures[unlinked] == signatures[row]).mean(axis=1) >= threshold
            yield from ((int(row), int(other)) for other in unlinked[is_similar])
            queue.extend(unlinked[is_similar])
            unlinked = unlinked[~is_similar]
