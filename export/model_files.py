"""Writes the files beside the ONNX files, which every loader reads, from a model to a bundle."""

import shutil
import tempfile
from pathlib import Path

from transformers import PretrainedConfig

from sentiment_ray.bundle.manifest import MODELS_FOLDER
from sentiment_ray.bundle.model_config import check_model_files
from sentiment_ray.manifest import read_json, write_json
from sentiment_ray.pretrained.open import OpenedModel
from sentiment_ray.pretrained.tokenizer_files import load_tokenizer_files
from sentiment_ray.text.truncation import HEAD, Truncation

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
TRUNCATION_SIDES = {"head": "right", "tail": "left"}
"""By truncation mode, the end of a text at which the loaders of transformers cut; they know no other mode."""


def copy_model_files(
    opened: OpenedModel, directory: Path, *, labels: tuple[str, ...], max_tokens: int, truncation: Truncation
) -> None:
    """Copy config.json and the tokenizer's files, and check them. The tokenizer then cuts texts as the training did."""
    (directory / MODELS_FOLDER).mkdir()
    shutil.copy(opened.directory / "config.json", directory)
    for name in TOKENIZER_FILES:
        if (opened.directory / name).is_file():
            shutil.copy(opened.directory / name, directory)
    _limit_tokenizer(directory / "tokenizer_config.json", max_tokens, truncation)
    contents = {file.name: file.read_bytes() for file in directory.glob("*.json")}
    check_model_files(contents, opened.root, labels=labels, max_tokens=max_tokens)


def write_encoder_files(
    encoder: str, config: PretrainedConfig, directory: Path, *, labels: tuple[str, ...], max_tokens: int
) -> None:
    """Write config.json and the tokenizer's files of an encoder without a head, and check them."""
    (directory / MODELS_FOLDER).mkdir()
    with tempfile.TemporaryDirectory() as saved:
        load_tokenizer_files(encoder, Path(saved))
        config.save_pretrained(saved)
        for name in ("config.json", *TOKENIZER_FILES):
            if (Path(saved) / name).is_file():
                shutil.copy(Path(saved) / name, directory)
    _limit_tokenizer(directory / "tokenizer_config.json", max_tokens, HEAD)
    contents = {file.name: file.read_bytes() for file in directory.glob("*.json")}
    check_model_files(contents, directory, labels=labels, max_tokens=max_tokens)


def _limit_tokenizer(path: Path, max_tokens: int, truncation: Truncation) -> None:
    """Make other loaders read as many tokens of a text as the model was trained on, from the same end of it."""
    settings = read_json(path) if path.is_file() else {}
    settings["model_max_length"] = max_tokens
    if truncation.mode in TRUNCATION_SIDES:
        settings["truncation_side"] = TRUNCATION_SIDES[truncation.mode]
    write_json(path, settings)
