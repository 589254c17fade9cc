"""Folds a temperature into a copy of a checkpoint. Knows no ONNX and no reviews."""

import shutil
from pathlib import Path

import torch
from torch import nn

from sentiment_ray.pretrained.load import load_classifier
from sentiment_ray.pretrained.open import open_model


def fold_temperature(checkpoint: Path, temperature: float, target: Path) -> None:
    """Write a checkpoint as `target` whose last layer divides by the temperature, so every loader gets these logits."""
    with open_model(checkpoint, key="checkpoint") as opened:  # the converters read all that is copied
        shutil.copytree(opened.directory, target, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    model = load_classifier(checkpoint)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if last.out_features != model.config.num_labels:
        raise AssertionError(f"{type(model).__name__} does not end in a layer of {model.config.num_labels} labels")
    with torch.no_grad():
        last.weight.div_(temperature)
        if last.bias is not None:
            last.bias.div_(temperature)
    model.save_pretrained(target, safe_serialization=True)
