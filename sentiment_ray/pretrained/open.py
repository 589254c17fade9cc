"""Opens a model for transformers: checks its files and lays the ones that are read into a directory of their own.

transformers looks for many files beside those that it is asked for, and acts on keys of the ones that it finds. It is
given this directory instead of the model's, so it meets nothing that was not checked here.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import parse_json
from sentiment_ray.bundle.model_config import check_tokenizer, refuse_kernels
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.pretrained.contents import (
    check_added_tokens,
    check_index,
    clean_config,
    clean_special_tokens,
    clean_tokenizer_config,
)
from sentiment_ray.pretrained.model_files import (
    INDEX_NAME,
    MAX_BYTES,
    REMEDY,
    WEIGHTS_NAME,
    list_model_files,
    read_model_file,
)
from sentiment_ray.pretrained.weights import read_weights_header

CLEANED: Mapping[str, Callable[[Mapping[str, Any], Path], dict[str, Any]]] = {
    "config.json": clean_config,
    "tokenizer_config.json": clean_tokenizer_config,
    "special_tokens_map.json": clean_special_tokens,
    "added_tokens.json": check_added_tokens,
}
"""The files that are written anew, with the keys that are kept."""
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")
"""What a tokenizer is made of where there is no tokenizer.json."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that was checked: a directory for transformers, and what its weights and its config.json say."""

    name: str
    """What messages call it: the configuration's key and its value."""
    root: Path
    """Its own directory, for messages alone."""
    directory: Path
    config: dict[str, Any]
    num_values: int
    """Numbers in all of its weights."""
    has_tokenizer: bool


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
    if path.is_absolute() and not (path / "config.json").exists():
        raise ConfigError(f"{name} is no model directory: config.json is missing there.")
    if path.is_dir() and revision is None:
        return path
    from sentiment_ray.pretrained.hub import download_model  # a local model needs no client of the Hub

    return download_model(model, revision)


def _lay_out(root: Path, directory: Path, name: str) -> OpenedModel:
    """Check a model and write or link what is read of it into `directory`."""
    files = list_model_files(root)
    if "config.json" not in files:
        raise ConfigError(f"{root} holds no config.json. Name a directory that holds a model.")
    cleaned = {each: _lay_out_json(root, files, directory, each) for each in CLEANED if each in files}
    config = cleaned["config.json"]
    has_tokenizer = _lay_out_tokenizer(root, files, directory, vocab_size=config.get("vocab_size"))
    num_values = _lay_out_weights(root, files, directory)
    return OpenedModel(name, root, directory, config, num_values, has_tokenizer)


def _lay_out_json(root: Path, files: Mapping[str, Path], directory: Path, name: str) -> dict[str, Any]:
    """Write what is kept of a JSON file and return it; a file of which all is kept stays the same bytes."""
    data = read_model_file(files[name], max_bytes=MAX_BYTES[name])
    values = parse_json(data, root / name, remedy=REMEDY)
    kept = CLEANED[name](values, root / name)
    (directory / name).write_bytes(data if kept == values else format_json(kept).encode())
    return kept


def _read_json(root: Path, files: Mapping[str, Path], name: str) -> dict[str, Any]:
    return parse_json(read_model_file(files[name], max_bytes=MAX_BYTES[name]), root / name, remedy=REMEDY)


def _lay_out_tokenizer(root: Path, files: Mapping[str, Path], directory: Path, *, vocab_size: Any) -> bool:
    """Write tokenizer.json, or what a tokenizer can be made of, and return whether there is either."""
    name = "tokenizer.json"
    if name in files:
        data = read_model_file(files[name], max_bytes=MAX_BYTES[name])
        check_tokenizer(parse_json(data, root / name, remedy=REMEDY), root / name, vocab_size=vocab_size, remedy=REMEDY)
        (directory / name).write_bytes(data)
        return True
    for name in VOCABULARIES:
        if name in files:
            (directory / name).write_bytes(read_model_file(files[name], max_bytes=MAX_BYTES[name]))
    return "vocab.txt" in files or "vocab.json" in files


def _lay_out_weights(root: Path, files: Mapping[str, Path], directory: Path) -> int:
    """Link the weights and return how many numbers they hold; transformers, too, prefers one file to several."""
    if WEIGHTS_NAME in files:
        tensors = {WEIGHTS_NAME: read_weights_header(files[WEIGHTS_NAME])}
    elif INDEX_NAME in files:
        weight_map = check_index(_read_json(root, files, INDEX_NAME), root / INDEX_NAME, files)
        tensors = {name: read_weights_header(files[name]) for name in sorted(set(weight_map.values()))}
        for tensor, name in weight_map.items():
            if tensor not in tensors[name]:
                raise ConfigError(f"{root / INDEX_NAME}: weight_map says that {name} holds {tensor[:100]!r}. {REMEDY}")
        index = {"metadata": {}, "weight_map": weight_map}
        (directory / INDEX_NAME).write_text(format_json(index), encoding="utf-8")
    else:
        raise ConfigError(
            f"{root} holds neither {WEIGHTS_NAME} nor {INDEX_NAME}. Save it with safe_serialization=True."
        )
    for name in tensors:
        (directory / name).symlink_to(files[name])
    return sum(sum(sizes.values()) for sizes in tensors.values())
