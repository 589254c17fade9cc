"""Writes the corpora to score and to train on, from real reviews; knows nothing of the contenders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError

SOURCES = ("imdb_train.parquet", "sentences.parquet", "tweets.parquet")
SOURCES_BY_LENGTH = {"mix": SOURCES, "short": SOURCES[1:]}
NUM_FILES = 8
ROWS_PER_FILE, ROW_GROUP_ROWS = 200_000, 25_000
"""Sizes of a large corpus, whatever its number of rows."""
WARM_UP_FILE = "_warm_up.parquet"
"""File of warm-up texts in a corpus directory. Readers of Parquet directories skip names that start with _."""


def mixed_corpus(directory: Path, samples: Path, *, rows: int, duplicates: float = 0.0, seed: int = 0) -> Path:
    """Write `rows` reviews, a third from each source, shuffled; the share `duplicates` of the rows repeats others.

    The distinct texts are the same as those of the corpus of `(1 - duplicates) * rows` rows without duplicates.
    """
    distinct = round(rows * (1 - duplicates))
    path = directory / f"mixed-{rows}-rows-{round(duplicates * 100)}-duplicates-seed-{seed}"
    if path.exists():
        return path
    random = np.random.default_rng(seed)
    texts = _even_sample(samples, SOURCES, distinct, random)
    repeated = [texts[index] for index in random.choice(len(texts), rows - distinct)]
    texts = texts + repeated
    return _write(path, [texts[index] for index in random.permutation(len(texts))])


def predict_corpus(
    directory: Path, samples: Path, *, lengths: str, rows: int, warm_up_rows: int, seed: int = 0
) -> Path:
    """Write `rows` distinct reviews, shuffled, and `warm_up_rows` other reviews in WARM_UP_FILE.

    `lengths` is `mix` (a third each of film reviews, review sentences and tweets) or `short` (half sentences, half
    tweets).
    """
    path = directory / f"predict-{lengths}-{rows}-rows-{warm_up_rows}-before-seed-{seed}"
    if path.exists():
        return path
    random = np.random.default_rng(seed)
    texts = _even_sample(samples, SOURCES_BY_LENGTH[lengths], rows + warm_up_rows, random)
    texts = [texts[index] for index in random.permutation(len(texts))]
    return _write(path, texts[:rows], warm_up=texts[rows:])


def training_corpus(directory: Path, samples: Path, *, lengths: str, rows: int, held_out: int, seed: int = 0) -> Path:
    """Write distinct labelled reviews as `train` and `validation`, one file each, shuffled.

    `lengths` is that of `predict_corpus`.
    """
    path = directory / f"train-{lengths}-{rows}-rows-{held_out}-held-out-seed-{seed}"
    if path.exists():
        return path
    random = np.random.default_rng(seed)
    tables = []
    for name in SOURCES_BY_LENGTH[lengths]:
        table = parquet.read_table(samples / name, columns=["text", "label"])
        firsts = np.unique(table["text"].to_pylist(), return_index=True)[1]
        share = -(-(rows + held_out) // len(SOURCES_BY_LENGTH[lengths]))
        tables.append(table.take(random.permutation(firsts)[:share]))
    table = pa.concat_tables(tables)
    table = table.take(random.permutation(len(table)))
    unfinished = path.with_name(f".{path.name}")
    for split, some in (("train", table.slice(0, rows)), ("validation", table.slice(rows, held_out))):
        (unfinished / split).mkdir(parents=True, exist_ok=True)
        parquet.write_table(some, unfinished / split / "part.parquet")
    return unfinished.rename(path)


def cut_corpus(directory: Path, samples: Path, *, rows: int, words: int, seed: int = 0) -> Path:
    """Write the first `words` words of `rows` film reviews that have at least as many words."""
    path = directory / f"cut-{rows}-rows-{words}-words-seed-{seed}"
    if path.exists():
        return path
    name = SOURCES[0]
    starts = (text.split()[:words] for text in _distinct_texts(samples / name))
    texts = [" ".join(start) for start in starts if len(start) == words]
    return _write(path, _sample(texts, rows, np.random.default_rng(seed), name))


def large_corpus(directory: Path, source: Path, *, rows: int, repeated: bool = False) -> Path:
    """Write `rows` rows by repeating the texts of a file, with their labels, and return the directory.

    Each text starts with its row number, so that no text comes twice, unless `repeated` is true.
    """
    if (directory / "done").exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    table = parquet.read_table(source)
    table = table.take(np.random.default_rng(0).permutation(len(table)))  # a source may be sorted by its labels
    columns = [name for name in ("text", "label") if name in table.column_names]
    for start in range(0, rows, ROWS_PER_FILE):
        numbers = np.arange(start, min(start + ROWS_PER_FILE, rows))
        part = table.select(columns).take(numbers % len(table))
        if not repeated:
            texts = [f"{number} {text}" for number, text in zip(numbers, part["text"].to_pylist(), strict=True)]
            part = part.set_column(0, "text", [texts])
        part = part.add_column(0, "id", [numbers])
        parquet.write_table(part, directory / f"{start:09d}.parquet", row_group_size=ROW_GROUP_ROWS)
    (directory / "done").touch()
    return directory


def describe(path: Path) -> dict[str, object]:
    """Return the number of rows and of distinct texts of a corpus, and the words of a text: mean and quartiles."""
    texts = parquet.read_table(path)["text"].to_pylist()
    words = [len(text.split()) for text in texts]
    quartiles = np.percentile(words, [25, 50, 75]).tolist()
    return {"rows": len(texts), "distinct": len(set(texts)), "words_mean": sum(words) / len(words), "words": quartiles}


def _even_sample(samples: Path, names: Sequence[str], rows: int, random: np.random.Generator) -> list[str]:
    """Return `rows` distinct texts, an equal number from each source."""
    texts: list[str] = []
    for index, name in enumerate(names):
        share = rows // len(names) + (index < rows % len(names))
        texts.extend(_sample(_distinct_texts(samples / name), share, random, name))
    return texts


def _distinct_texts(path: Path) -> list[str]:
    if not path.exists():
        raise DataError(f"{path} is missing. Run: python -m jobs.fetch_samples --imdb")
    return list(dict.fromkeys(parquet.read_table(path)["text"].to_pylist()))


def _sample(texts: list[str], rows: int, random: np.random.Generator, name: str) -> list[str]:
    if rows > len(texts):
        raise DataError(f"{name} holds {len(texts)} suitable texts, but {rows} are needed. Ask for fewer rows.")
    return [texts[index] for index in random.permutation(len(texts))[:rows]]


def _write(path: Path, texts: list[str], *, warm_up: Sequence[str] = ()) -> Path:
    """Write texts and their ids as files of equal size; the directory appears only when it is complete."""
    table = pa.table({"id": np.arange(len(texts)), "text": texts})
    unfinished = path.with_name(f".{path.name}")
    unfinished.mkdir(parents=True, exist_ok=True)
    rows_per_file = -(-len(texts) // NUM_FILES)
    for number in range(NUM_FILES):
        part = table.slice(number * rows_per_file, rows_per_file)
        parquet.write_table(part, unfinished / f"reviews-{number}.parquet")
    if warm_up:
        parquet.write_table(pa.table({"text": list(warm_up)}), unfinished / WARM_UP_FILE)
    return unfinished.rename(path)
