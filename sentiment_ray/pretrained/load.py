"""Loads networks of opened models with transformers; knows nothing of training and of ONNX."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.open import OpenedModel, open_model

FROM_DISK: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True, "use_safetensors": True}
MAX_HEAD_VALUES = 1 << 24
"""Values that a head which the weights lack may have."""
FAULTS_OF_A_MODEL = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    SafetensorError,
)  # fmt: skip
"""What transformers and torch raise over a config.json that no network can be built from."""


def load_classifier(checkpoint: Path) -> PreTrainedModel:
    """Load a checkpoint with its head, for evaluation; ConfigError when it could do harm or cannot be loaded."""
    with open_model(checkpoint, key="checkpoint") as opened, naming_model(opened):
        check_size(opened, AutoConfig.from_pretrained(opened.directory, local_files_only=True))
        return AutoModelForSequenceClassification.from_pretrained(opened.directory, **FROM_DISK).eval()


def load_headless(model: str, revision: str | None = None) -> PreTrainedModel:
    """Load the encoder of a model without a head, for evaluation; ConfigError as `load_classifier`."""
    with open_model(model, revision) as opened, naming_model(opened):
        check_size(opened, AutoConfig.from_pretrained(opened.directory, local_files_only=True))
        return AutoModel.from_pretrained(opened.directory, **FROM_DISK).eval()


def check_size(opened: OpenedModel, config: PretrainedConfig) -> None:
    """Refuse a config.json that asks for far more memory than the weights fill; nothing is allocated here."""
    with torch.device("meta"):
        built = AutoModelForSequenceClassification.from_config(config)
    num_values = sum(parameter.numel() for parameter in built.parameters())
    found = sum(tensor.num_values for tensor in opened.tensors.values())
    if num_values > 2 * found + MAX_HEAD_VALUES:
        raise ConfigError(
            f"{opened.name}: config.json asks for {num_values:,} values, the weights hold {found:,}. "
            "One of them is of another model. Take both from its maker again."
        )


@contextmanager
def naming_model(opened: OpenedModel) -> Iterator[None]:
    """Turn what transformers and torch raise over a model's own files into a ConfigError that names the model."""
    try:
        yield
    except FAULTS_OF_A_MODEL as error:
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{opened.name} cannot be loaded as its config.json says ({type(error).__name__}: {why}). "
            "Correct config.json, or choose another model."
        ) from error
