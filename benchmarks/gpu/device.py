"""Measures the rate of bf16 matrix products, to which all shares refer, and says what the machine is."""

import importlib.metadata
import platform
import subprocess

import torch

from benchmarks.gpu.results import Results, read_lines
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.turns import time_call
from benchmarks.harness import machine

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "onnxruntime-gpu", "onnxruntime", "ray", "numpy")
PRODUCTS = ((8192, 8192, 8192), (32768, 384, 1536), (32768, 768, 3072))
"""Rows, width and columns: a large product, and the feed-forward layers of MiniLM and of BERT-base."""
SMALL_PRODUCTS = ((256, 256, 256),)
PRODUCTS_PER_TRY, TRIES = 20, 5
QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv,noheader")


def measure_device(setting: Setting, results: Results) -> None:
    """Add the rates of some products, the GPU and its driver, the processor, and the versions of packages."""
    for shape in setting.choose(PRODUCTS, SMALL_PRODUCTS):
        what = "bf16 product of {} × {} by {} × {}".format(*(f"{size:,}" for size in (*shape[:2], *shape[1:])))
        with results.catching(what):
            results.add(what, tflop_per_s=measure_product(shape, setting.device))
    with results.catching("GPU, driver, memory, power limit"):
        told = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout
        results.add("GPU, driver, memory, power limit", figure="; ".join(told.splitlines()))
    with results.catching("processor"):
        told = machine()
        results.add("processor", figure="{cpu}, {cores} cores, load {load:.2f}, commit {commit}".format(**told))
    versions = [f"Python {platform.python_version()}", *filter(None, map(_read_version, PACKAGES))]
    results.add("versions", figure=", ".join([*versions, f"CUDA {torch.version.cuda}"]))


def measure_product(shape: tuple[int, int, int], device: str) -> float:
    """Return the best rate of a matrix product in bf16, in TFLOP/s."""
    rows, width, columns = shape
    values = torch.randn(rows, width, device=device, dtype=torch.bfloat16)
    weights = torch.randn(columns, width, device=device, dtype=torch.bfloat16).T  # as a linear layer holds them

    def multiply() -> None:
        for _ in range(PRODUCTS_PER_TRY):
            product = values @ weights
        product[0, 0].item()  # waits for the device

    multiply()
    return PRODUCTS_PER_TRY * 2 * rows * width * columns / min(time_call(multiply) for _ in range(TRIES)) / 1e12


def reset_torch(*, cudnn_attention: bool) -> None:
    """Give torch's settings their defaults, because contenders change them; attention uses cuDNN or does not."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.enable_cudnn_sdp(cudnn_attention)


def read_peak(setting: Setting) -> float | None:
    """Return the best measured rate in FLOP/s, or None when none was measured."""
    rates = [line["tflop_per_s"] for line in read_lines(setting.root, "device") if "tflop_per_s" in line]
    return 1e12 * max(rates) if rates else None


def _read_version(package: str) -> str | None:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return None
