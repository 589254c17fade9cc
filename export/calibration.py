"""The temperature of a checkpoint, and a copy of it that holds the temperature; knows no ONNX and no reviews."""

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn
from transformers import AutoModelForSequenceClassification

LARGEST_TEMPERATURE = 20.0


def fit_temperature(logits: NDArray[np.float32], label_ids: NDArray[np.int64]) -> float:
    """Return the number by which logits `(texts, labels)` are divided so that their softmax is the most likely.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599)
    changes no label. Three decimals are kept, so that the last bits of a sum do not change the bundle.
    """
    rows, wide = np.arange(len(label_ids)), logits.astype(np.float64)

    def surprise(log_temperature: float) -> float:
        return -float(log_softmax(wide / np.exp(log_temperature), axis=1)[rows, label_ids].mean())

    limit = np.log(LARGEST_TEMPERATURE)
    found = minimize_scalar(surprise, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-5})
    return round(float(np.exp(found.x)), 3)


def fold_temperature(checkpoint: Path, temperature: float, target: Path) -> None:
    """Write a checkpoint as `target` whose last layer divides by the temperature, so that every loader's numbers do."""
    shutil.copytree(checkpoint, target, ignore=shutil.ignore_patterns("*.pt", "model.safetensors"))
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, trust_remote_code=False, use_safetensors=True, local_files_only=True
    )
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if last.out_features != model.config.num_labels:
        raise AssertionError(f"{type(model).__name__} does not end in a layer of {model.config.num_labels} labels")
    with torch.no_grad():
        last.weight.div_(temperature)
        if last.bias is not None:
            last.bias.div_(temperature)
    model.save_pretrained(target, safe_serialization=True)
