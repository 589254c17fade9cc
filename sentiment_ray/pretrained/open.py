"""Opens a model for transformers: checks its files and lays the ones that are read into a directory of their own.

transformers looks for many files beside those that it is asked for, and acts on keys of the ones that it finds. It is
given this directory instead of the model's, so it meets nothing that was not checked here.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import parse_json
from sentiment_ray.bundle.model_config import check_tokenizer, refuse_kernels
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.pretrained.contents import (
    check_added_ids,
    check_added_tokens,
    check_index,
    check_merges,
    check_vocabulary,
    clean_config,
    clean_special_tokens,
    clean_tokenizer_config,
)
from sentiment_ray.pretrained.directory import explain_no_config, explain_no_weights
from sentiment_ray.pretrained.fit import check_fit
from sentiment_ray.pretrained.model_files import (
    INDEX_NAME,
    MAX_BYTES,
    REMEDY,
    WEIGHTS_NAME,
    find_plain_file,
    leads_outside,
    list_model_files,
    read_model_file,
)
from sentiment_ray.pretrained.weights import Tensor, read_weights_header
from sentiment_ray.text.encoding import parse_encoder
from sentiment_ray.versions import installed_versions

CLEANED: Mapping[str, Callable[[Mapping[str, Any], Path], dict[str, Any]]] = {
    "config.json": clean_config,
    "tokenizer_config.json": clean_tokenizer_config,
    "special_tokens_map.json": clean_special_tokens,
    "added_tokens.json": check_added_tokens,
}
"""The files that are written anew, with the keys that are kept."""
NO_LIMIT = 1 << 16
"""More tokens than any tokenizer adds to a text; a trial needs some number."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that was checked: a directory for transformers, and what its weights and its config.json say."""

    name: str
    """What messages call it: the configuration's key and its value."""
    root: Path
    """Its own directory, for messages alone."""
    directory: Path
    config: dict[str, Any]
    weights: Mapping[Path, Mapping[str, Tensor]]
    """The tensors in each file of its weights."""
    has_tokenizer: bool
    links: Mapping[str, Path]
    """What its files lead to that are links to another place."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of its tensors by name."""
        return {name: tensor for tensors in self.weights.values() for name, tensor in tensors.items()}


@contextmanager
def open_model(model: str | Path, revision: str | None = None, *, key: str = "model") -> Iterator[OpenedModel]:
    """Yield a model, a local directory or a name on the Hub, as a directory that transformers can be given.

    `revision` is a commit on the Hub, `key` the configuration's key that messages name. The directory holds
    config.json, the tokenizer's files, and links to the weights; it is removed at the end. ConfigError, naming the
    file, when something in the model is not as published models have it.
    """
    refuse_kernels()
    name = f"{key} = {str(model)!r}"
    root = _directory_of(str(model), revision, name)
    with tempfile.TemporaryDirectory(prefix="sentiment-ray-model-") as directory:
        try:
            opened = _lay_out(root, Path(directory), name)
        except (BundleError, ConfigError) as error:
            raise ConfigError(f"{name}: {error}") from None
        yield opened


def _directory_of(model: str, revision: str | None, name: str) -> Path:
    path = Path(model)
    if path.is_absolute() and not (path / "config.json").is_symlink() and not (path / "config.json").exists():
        raise ConfigError(f"{name} {explain_no_config(path)}")
    if path.is_dir() and revision is None:
        return path
    from sentiment_ray.pretrained.hub import download_model  # a local model needs no client of the Hub

    return download_model(model, revision)


def _lay_out(root: Path, directory: Path, name: str) -> OpenedModel:
    """Check a model and write or link what is read of it into `directory`."""
    present = list_model_files(root)
    if "config.json" not in present:
        raise ConfigError(f"{root} {explain_no_config(root)}")
    source = _Source(root, present)
    cleaned = {each: _lay_out_json(source, directory, each) for each in CLEANED if each in present}
    config = cleaned["config.json"]
    vocab_size = config.get("vocab_size")
    added = cleaned.get("tokenizer_config.json", {}).get("added_tokens_decoder")
    added_ids = {
        "added_tokens.json": cleaned.get("added_tokens.json", {}).values(),
        "tokenizer_config.json": [int(token_id) for token_id in added or () if token_id.isdecimal()],
    }
    for file, ids in added_ids.items():
        check_added_ids(ids, root / file, vocab_size=vocab_size)
    has_tokenizer = _lay_out_tokenizer(source, directory, vocab_size=vocab_size)
    weights = _lay_out_weights(source, directory)
    check_fit(config, {name: tensor for tensors in weights.values() for name, tensor in tensors.items()}, root)
    return OpenedModel(name, root, directory, config, weights, has_tokenizer, source.links)


@dataclass
class _Source:
    """The directory of a model, and which of its files that were opened are links to another place."""

    root: Path
    present: frozenset[str]
    links: dict[str, Path] = field(default_factory=dict)

    def find(self, name: str) -> Path:
        """Return the plain file behind a name."""
        real = find_plain_file(self.root, name)
        if leads_outside(self.root, real):
            self.links[name] = real
        return real

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return read_model_file(self.find(name), max_bytes=MAX_BYTES[name])

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the values of a JSON file."""
        return parse_json(self.read(name), self.root / name, remedy=REMEDY)


def _lay_out_json(source: _Source, directory: Path, name: str) -> dict[str, Any]:
    """Write what is kept of a JSON file and return it; a file of which all is kept stays the same bytes."""
    data = source.read(name)
    values = parse_json(data, source.root / name, remedy=REMEDY)
    if name == "config.json" and "model_type" not in values and "modules.json" in os.listdir(source.root):
        raise ConfigError(f"{source.root} {explain_no_config(source.root)}")
    kept = CLEANED[name](values, source.root / name)
    (directory / name).write_bytes(data if kept == values else format_json(kept).encode())
    return kept


def _lay_out_tokenizer(source: _Source, directory: Path, *, vocab_size: Any) -> bool:
    """Write tokenizer.json, or what a tokenizer can be made of, and return whether there is either."""
    present, name = source.present, "tokenizer.json"
    if name in present:
        data = source.read(name)
        _check_tokenizer(data, source.root / name, vocab_size=vocab_size)
        (directory / name).write_bytes(data)
        return True
    if "vocab.txt" in present:
        data = source.read("vocab.txt")
        check_vocabulary(data, source.root / "vocab.txt", vocab_size=vocab_size)
        (directory / "vocab.txt").write_bytes(data)
    if {"vocab.json", "merges.txt"} <= present:
        vocabulary, merges = source.read("vocab.json"), source.read("merges.txt")
        parsed = parse_json(vocabulary, source.root / "vocab.json", remedy=REMEDY)
        check_merges(merges, source.root / "merges.txt", parsed, vocab_size=vocab_size)
        (directory / "vocab.json").write_bytes(vocabulary)
        (directory / "merges.txt").write_bytes(merges)
    return "vocab.txt" in present or {"vocab.json", "merges.txt"} <= present


def _check_tokenizer(data: bytes, path: Path, *, vocab_size: Any) -> None:
    """Refuse a tokenizer.json that could do harm, that does not fit the embedding, or that cannot be loaded here."""
    values = parse_json(data, path, remedy=REMEDY)
    check_tokenizer(values, path, vocab_size=vocab_size, remedy=REMEDY)
    try:
        parse_encoder(data, max_tokens=NO_LIMIT, source=path)
    except BundleError as error:
        version = installed_versions("tokenizers")["tokenizers"]
        raise ConfigError(
            f"{error} A newer version than tokenizers {version} may have saved it: save it again with this one, or "
            "take an older file."
        ) from None


def _lay_out_weights(source: _Source, directory: Path) -> dict[Path, dict[str, Tensor]]:
    """Link the weights and return the tensors of each file; transformers, too, prefers one file to several."""
    root, names = source.root, [WEIGHTS_NAME]
    weight_map: dict[str, str] = {}
    if WEIGHTS_NAME not in source.present:
        if INDEX_NAME not in source.present:
            raise ConfigError(f"{root} {explain_no_weights(root)}")
        weight_map = check_index(source.read_json(INDEX_NAME), root / INDEX_NAME, source.present)
        names = sorted(set(weight_map.values()))
        index = {"metadata": {}, "weight_map": weight_map}
        (directory / INDEX_NAME).write_text(format_json(index), encoding="utf-8")
    files = {name: source.find(name) for name in names}
    tensors = {name: read_weights_header(root / name) for name in names}
    for tensor, name in weight_map.items():
        if tensor not in tensors[name]:
            raise ConfigError(f"{root / INDEX_NAME}: weight_map says that {name} holds {tensor[:100]!r}. {REMEDY}")
    for name, file in files.items():
        (directory / name).symlink_to(file)
    return {files[name]: tensors[name] for name in names}
