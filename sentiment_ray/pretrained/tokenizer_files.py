"""Writes the tokenizer of an encoder as the files that a bundle needs; knows nothing of training and of ONNX."""

import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from sentiment_ray.bundle.files import parse_json
from sentiment_ray.bundle.model_config import check_tokenizer
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.pretrained.directory import explain_no_tokenizer
from sentiment_ray.pretrained.model_files import MAX_BYTES, REMEDY
from sentiment_ray.pretrained.open import open_model


def load_tokenizer_files(model: str, directory: Path, revision: str | None = None) -> None:
    """Write the tokenizer of a local or Hub encoder into `directory`, tokenizer.json among its files.

    `revision` is a commit of a model on the Hub. ConfigError when there is no tokenizer, or one that could do harm.
    """
    with open_model(model, revision) as opened, tempfile.TemporaryDirectory() as saved:
        if not opened.has_tokenizer:
            raise ConfigError(f"{opened.name}: {opened.root} {explain_no_tokenizer(opened.root)}")
        _save_tokenizer(opened.directory, Path(saved), model)
        if not (Path(saved) / "tokenizer.json").is_file():
            raise ConfigError(
                f"model = {model!r} has no fast tokenizer, and none can be made of its files; a bundle needs one. Save "
                "it with AutoTokenizer where SentencePiece is installed, which writes tokenizer.json, or choose "
                "another model."
            )
        vocab_size = opened.config.get("vocab_size")
        for name in MAX_BYTES:
            if (Path(saved) / name).is_file():
                shutil.copy(Path(saved) / name, directory)
    try:
        data = (directory / "tokenizer.json").read_bytes()
        check_tokenizer(parse_json(data, "tokenizer.json"), "tokenizer.json", vocab_size=vocab_size, remedy=REMEDY)
    except BundleError as error:
        raise ConfigError(f"model = {model!r}: {error}") from None


def _save_tokenizer(source: Path, target: Path, model: str) -> None:
    """Load the tokenizer of an opened model with transformers, and save it again."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False, local_files_only=True)
        tokenizer.save_pretrained(target)
    except BaseException as error:  # the tokenizers library panics at some files, with an error that is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(f"model = {model!r} has a tokenizer that transformers cannot read: {why}") from None
