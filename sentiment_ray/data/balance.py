"""The rows of the training split after balancing and augmenting; knows a bucket's rows, and of the others only keys."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.data.augmentation import altered
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.division import Augment
from sentiment_ray.data.hashing import bucket_of, hash_texts, text_keys
from sentiment_ray.data.ranks import Balance
from sentiment_ray.data.split import hash_words

EXTRAS = ("copies", "augmented")
"""Training rows that were in no source."""
COPY, AUGMENTED = "#copy-", "#augmented"
"""What the ids of rows end with that were not in any source."""


def training_rows(
    rows: pa.Table,
    keys: NDArray[np.uint64],
    config: PrepareConfig,
    balance: Balance | None,
    texts: Sequence[Path | None],
    *,
    bucket: int,
) -> tuple[pa.Table, NDArray[np.int64], NDArray[np.int64]]:
    """Return a bucket's training rows as they are trained on, in an order drawn by the seed.

    Besides, how often each of `rows` is there, `(rows,)`, and how many of EXTRAS each source got, `(sources, extras)`.
    `keys` are those of `train_keys`; `texts` are the tallies by which a text of the sources is known.
    """
    times, sources = np.ones(len(rows), dtype=np.int64), rows["source"].to_numpy()
    if balance:
        label = rows["label"].to_numpy()
        times = balance.times[label] + (keys < balance.more[label])
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    np.add.at(extras[:, 0], sources, np.maximum(times - 1, 0))
    result = repeated(rows, times)
    if config.augment:
        digests = [word.tobytes() for word in hash_words(result)]
        added = augmented(result, digests, config.augment, seed=config.seed, texts=texts)
        np.add.at(extras[:, 1], added["source"].to_numpy(), 1)
        result = pa.concat_tables([result, added])
    order = np.random.default_rng([config.seed % 2**32, bucket]).permutation(len(result))
    return result.combine_chunks().take(pa.array(order)), times, extras


def repeated(table: pa.Table, times: NDArray[np.int64]) -> pa.Table:
    """Return each row as often as it should be there, its repetitions with `#copy-1` and so on behind their ids."""
    rows = np.repeat(np.arange(len(table)), times)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    result = table.take(pa.array(rows))
    ids = [f"{name}{COPY}{copy}" if copy else name for name, copy in zip(result["id"].to_pylist(), number, strict=True)]
    return _with(result, "id", ids)


def augmented(
    table: pa.Table, digests: Sequence[bytes], augment: Augment, *, seed: int, texts: Sequence[Path | None]
) -> pa.Table:
    """Return an altered copy of a share of the rows, with `#augmented` behind its id.

    What is drawn depends on a row's hash, its id and the seed. A copy that equals another text of the sources, found by
    `texts`, the sorted keys of each bucket's, is not made: it may stand in another split.
    """
    places, copies = [], []
    for place, (identity, text) in enumerate(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)):
        random = Random(b"%d " % seed + digests[place] + identity.encode())
        copy = altered(text, augment.operations, random) if random.random() < augment.share else None
        if copy is not None:
            places.append(place)
            copies.append(copy)
    words = hash_texts(copies, seed=seed)
    is_own = np.array([word.tobytes() == digests[place] for word, place in zip(words, places, strict=True)], np.bool_)
    made = np.flatnonzero(is_own | ~_are_known(words, texts))
    result = table.take(pa.array(np.array(places, dtype=np.int64)[made]))
    ids = [f"{name}{AUGMENTED}" for name in result["id"].to_pylist()]
    return _with(_with(result, "id", ids), "text", [copies[place] for place in made])


def _are_known(words: NDArray[np.uint32], texts: Sequence[Path | None]) -> NDArray[np.bool_]:
    """Whether each hash is that of a text of the sources, `(hashes,)`."""
    known = np.zeros(len(words), dtype=np.bool_)
    buckets, keys = bucket_of(words, len(texts)), text_keys(words)
    for bucket in np.unique(buckets):
        path = texts[bucket]
        if path is not None:
            found, here = np.load(path, mmap_mode="r"), buckets == bucket
            place = np.minimum(np.searchsorted(found, keys[here]), len(found) - 1)
            known[here] = found[place] == keys[here]
    return known


def _with(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
