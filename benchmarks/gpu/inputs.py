"""The texts and encoders that are measured on: real texts where they are at hand, made ones where not."""

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.corpora import SOURCES
from benchmarks.gpu.setting import Setting
from benchmarks.harness import ROOT
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import read_json

MAX_TOKENS = 256
LABELS = ("negative", "positive")
SENTENCES = ROOT / "jobs/configs/everyday.jsonl"
NUM_MADE_SHORT_TEXTS = 8_000
MADE_REVIEWS, MEDIAN_WORDS, DEVIATION = 25_000, 174, 0.6
"""Number of made reviews, and the lengths of film reviews: their logarithms are about normal."""
MAX_PIECES = 2000


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT encoder."""

    layers: int
    width: int
    heads: int

    @property
    def inner(self) -> int:
        """Width of the feed-forward layers."""
        return 4 * self.width

    def count_flop_per_token(self, lengths: np.ndarray) -> float:
        """Return the operations of a forward pass for a token in texts of these lengths, without padding.

        A token in a text of S tokens takes `2 L (4 d^2 + 2 d f) + 4 L S d`; see `predict_vs_peers.py`. A training step
        takes three times as many.
        """
        mean = float((lengths**2).sum() / lengths.sum())
        products = 2 * self.layers * (4 * self.width**2 + 2 * self.width * self.inner)
        return products + 4 * self.layers * mean * self.width


SHAPES = {"minilm": Shape(6, 384, 12), "bert": Shape(12, 768, 12)}
TINY = Shape(1, 64, 2)


@dataclass(frozen=True)
class LabelledRows:
    """Labelled texts, their tokens for an encoder, and their lengths in tokens, int64 `(rows,)`."""

    texts: list[str]
    label_ids: list[int]
    tokens: list[list[int]]
    lengths: np.ndarray


def get_shape(setting: Setting, name: str) -> Shape:
    """Return the sizes of an encoder; tiny ones in a rehearsal."""
    return setting.choose(SHAPES[name], TINY)


def load_film_reviews(setting: Setting) -> tuple[list[str], list[int]]:
    """Return the texts and the label ids of film reviews, in random order."""
    prepared = [Path(setting.imdb) / "train"] if setting.imdb else []
    for path in (Path(setting.samples) / SOURCES[0], *prepared):
        if path.exists():
            table = parquet.read_table(path, columns=["text", "label"])
            table = table.take(np.random.default_rng(0).permutation(len(table)))
            return table["text"].to_pylist(), [LABELS.index(label) for label in table["label"].to_pylist()]
    return _make_reviews(setting.choose(MADE_REVIEWS, 200))


def load_rows(setting: Setting, encoder: Path) -> LabelledRows:
    """Return film reviews, tokenised for an encoder."""
    from transformers import AutoTokenizer

    texts, label_ids = load_film_reviews(setting)
    tokens = AutoTokenizer.from_pretrained(encoder)(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    return LabelledRows(texts, label_ids, tokens, np.array([len(ids) for ids in tokens]))


def load_mix(setting: Setting, num_rows: int) -> list[str]:
    """Return texts to score: film reviews, review sentences and tweets in equal parts as far as they go, shuffled."""
    sources = [load_film_reviews(setting)[0], *(_load_short_texts(setting, name) for name in SOURCES[1:])]
    texts = [text for source in sources for text in source[: -(-num_rows // len(sources))]]
    order = np.random.default_rng(0).permutation(len(texts))[:num_rows]
    return [texts[index] for index in order]


def write_film_reviews(setting: Setting, path: Path, num_rows: int) -> int:
    """Write film reviews with their labels as a Parquet file for prepare_reviews; return their number."""
    texts, label_ids = (values[:num_rows] for values in load_film_reviews(setting))
    names = [LABELS[label_id] for label_id in label_ids]
    parquet.write_table(pa.table({"id": range(len(texts)), "text": texts, "label": names}), path)
    return len(texts)


def get_encoder(setting: Setting) -> Path:
    """Return the encoder that the jobs fine-tune: the one that was given, MiniLM, or random weights of its shape."""
    minilm = Path(setting.samples) / "minilm"
    if setting.model:
        return Path(setting.model)
    return minilm if minilm.exists() and not setting.quick else write_encoder(setting, "minilm")


def write_encoder(setting: Setting, name: str) -> Path:
    """Return the directory of an encoder with random weights, which is made when it is asked for first."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    path = setting.root / "encoders" / name
    if (path / "model.safetensors").exists():
        return path
    _write_tokenizer(setting, path)
    shape = get_shape(setting, name)
    config = BertConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(path)),
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_attention_heads=shape.heads,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path, safe_serialization=True)
    return path


def find_bundle(setting: Setting) -> tuple[Path, Path]:
    """Return the bundle to score with and its checkpoint; ConfigError when neither was given nor exported."""
    if setting.bundle and setting.checkpoint:
        return Path(setting.bundle), Path(setting.checkpoint)
    bundle, run = (setting.root / "jobs" / name for name in ("bundle", "run"))
    if not (bundle / "bundle.json").exists():
        raise ConfigError(f"{bundle} holds no bundle. Run the part `jobs` first, or give --bundle and --checkpoint.")
    return bundle, run / read_json(run / "run.json")["best"]["checkpoint"]


def _write_tokenizer(setting: Setting, path: Path) -> None:
    """Write the tokenizer of MiniLM, or one of the most frequent words and all letters of the made texts."""
    path.mkdir(parents=True, exist_ok=True)
    minilm = Path(setting.samples) / "minilm"
    if (minilm / "tokenizer.json").exists():
        for file in (*minilm.glob("*token*.json"), *minilm.glob("vocab.txt")):
            shutil.copy(file, path)
        return
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.models import WordPiece
    from transformers import BertTokenizerFast

    words = Counter(word for text, _ in _read_sentences() for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word, _ in words.most_common() if len(word) > 1]
    vocabulary = {piece: index for index, piece in enumerate(pieces[:MAX_PIECES])}
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer
    tokenizer.model = WordPiece(vocabulary, unk_token="[UNK]")
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)


def _load_short_texts(setting: Setting, name: str) -> list[str]:
    """Return the distinct texts of a file of samples, or made ones where it is missing."""
    path = Path(setting.samples) / name
    if path.exists():
        return list(dict.fromkeys(parquet.read_table(path)["text"].to_pylist()))
    sentences = [text for text, _ in _read_sentences()]
    return [f"{sentences[number % len(sentences)]} {name} {number}" for number in range(NUM_MADE_SHORT_TEXTS)]


def _read_sentences() -> list[tuple[str, str]]:
    """Return short sentences with their labels."""
    messages = [json.loads(line)["messages"] for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    return [(user["content"], assistant["content"].lower()) for _, user, assistant in messages]


def _make_reviews(num_rows: int) -> tuple[list[str], list[int]]:
    """Return texts as long as film reviews, each joined from sentences of one label, and their label ids."""
    random = np.random.default_rng(0)
    by_label = [[text for text, label in _read_sentences() if label == name] for name in LABELS]
    lengths = random.lognormal(np.log(MEDIAN_WORDS), DEVIATION, num_rows)
    label_ids = random.integers(len(LABELS), size=num_rows).tolist()
    texts = []
    for length, label_id in zip(lengths, label_ids, strict=True):
        sentences = by_label[label_id]
        mean_words = sum(len(text.split()) for text in sentences) / len(sentences)
        chosen = random.integers(len(sentences), size=max(1, round(length / mean_words)))
        texts.append(" ".join(sentences[index] for index in chosen))
    return texts, label_ids
