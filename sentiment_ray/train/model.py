"""An encoder with a classification head: loading, precision, saving; knows nothing of data or Ray."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from sentiment_ray.errors import ConfigError
from sentiment_ray.labels import id2label, label2id


def load_tokenizer_files(model: str, directory: Path) -> None:
    """Write the tokenizer of a local or Hub encoder into `directory`, tokenizer.json among its files."""
    tokenizer = AutoTokenizer.from_pretrained(_checked(model), use_fast=True, trust_remote_code=False)
    tokenizer.save_pretrained(directory)
    if not (directory / "tokenizer.json").is_file():
        raise ConfigError(
            f"model = {model!r} has no fast tokenizer (tokenizer.json), which the bundle needs. Choose another."
        )


def load_model(model: str, labels: Sequence[str], *, dropout: float | None, device: torch.device) -> PreTrainedModel:
    """Load an encoder with a fresh head for `labels`, on `device`.

    Weights are read from safetensors only, and no code from the model's directory is run.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(
        _checked(model),
        num_labels=len(labels),
        id2label=id2label(labels),
        label2id=label2id(labels),
        trust_remote_code=False,
    )
    if dropout is not None:
        for key, value in config.to_dict().items():
            if "dropout" in key and (value is None or isinstance(value, float | int)):
                setattr(config, key, dropout)
    return AutoModelForSequenceClassification.from_pretrained(
        model,
        config=config,
        trust_remote_code=False,
        use_safetensors=True,
        # On CPUs the backward pass of fused attention is slower than the plain one.
        attn_implementation="sdpa" if device.type == "cuda" else "eager",
    ).to(device)


def use_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to train in bf16 autocast: as told, and for `auto` where the device has matrix units for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def parameter_groups(model: torch.nn.Module, *, weight_decay: float) -> list[dict[str, object]]:
    """Divide the parameters for AdamW: matrices decay, biases and norms do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _checked(model: str) -> str:
    """Refuse a path that is no model directory with one line, before transformers asks the Hub for it."""
    path = Path(model)
    if path.is_absolute() and not (path / "config.json").is_file():
        raise ConfigError(f"model = {model!r} is no model directory: config.json is missing there.")
    return model
