"""The header of a safetensors file: which tensors it holds, and that they fill the file.

The format: https://huggingface.co/docs/safetensors/index#format
"""

import json
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from sentiment_ray.bundle.files import parse_json
from sentiment_ray.errors import ConfigError
from sentiment_ray.file_content import START_BYTES, describe_content
from sentiment_ray.pretrained.model_files import REMEDY

DOWNLOAD = "Download the model's safetensors again."
LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 100_000
MAX_NAME_CHARACTERS = 512
METADATA = "__metadata__"
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
    "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8,
}  # fmt: skip
FLOATS = {
    "F64": ("<u8", 0x7FF << 52),
    "F32": ("<u4", 0xFF << 23),
    "F16": ("<u2", 0x1F << 10),
    "BF16": ("<u2", 0xFF << 7),
}
"""The types that weights can be trained in: the type of their bits, and the bits of the exponent, all set in NaN."""
WEIGHTS_ENDS = (".weight", ".bias", ".gamma", ".beta")
VALUES_PER_STEP = 1 << 20


@dataclass(frozen=True)
class Tensor:
    """What the header of a safetensors file says of one tensor; `start` is its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def read_weights_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name; reads no weights.

    ConfigError when the file is none, is cut off, holds quantised weights or other types than encoders have, was not
    written by PyTorch, or when a tensor claims bytes that it does not have or shares with another.
    """
    num_bytes = os.stat(path).st_size
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        length = LENGTH.unpack_from(start)[0] if len(start) > LENGTH.size else 0
        # A header begins with a brace, and its length is not so large that it could be text.
        if start[LENGTH.size : LENGTH.size + 1] != b"{" or length > MAX_HEADER_BYTES:
            description = describe_content(start, remedy=DOWNLOAD) or f"is no safetensors file. {DOWNLOAD}"
            raise ConfigError(f"{path} {description}")
        if length > num_bytes - LENGTH.size:
            raise _cut_off(path, num_bytes, f"{LENGTH.size + length:,} bytes of header")
        file.seek(LENGTH.size)
        header = parse_json(file.read(length), path, remedy=REMEDY)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or metadata.get("format", "pt") != "pt":
        raise ConfigError(f"{path} has the metadata {str(metadata)[:100]}, not those of PyTorch. {REMEDY}")
    if len(header) > MAX_TENSORS:
        raise ConfigError(f"{path} holds {len(header):,} tensors, more than any encoder has. {REMEDY}")
    data = LENGTH.size + length
    spans = sorted(_read_span(name, tensor, path) for name, tensor in header.items())
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1]:
        raise ConfigError(f"{path}: its tensors overlap or leave gaps. {REMEDY}")
    if ends[-1] > num_bytes - data:
        raise _cut_off(path, num_bytes, f"{data + ends[-1]:,}")
    if ends[-1] < num_bytes - data:
        raise ConfigError(f"{path}: its tensors do not end where the file does. {REMEDY}")
    return {
        name: Tensor(tensor["dtype"], tuple(tensor["shape"]), data + tensor["data_offsets"][0])
        for name, tensor in header.items()
    }


def find_unusable_number(path: Path, tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor of a file with a NaN or an infinite number, or None; reads all weights."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, tensor in tensors.items():
            if tensor.dtype not in FLOATS:
                continue
            kind, exponent = FLOATS[tensor.dtype]
            for first in range(0, tensor.num_values, VALUES_PER_STEP):
                count = min(VALUES_PER_STEP, tensor.num_values - first)
                bits = np.frombuffer(data, kind, count, tensor.start + first * np.dtype(kind).itemsize)
                is_unusable = bool(((bits & exponent) == exponent).any())
                del bits  # the map cannot be closed while an array looks into it
                if is_unusable:
                    return name
    return None


def _cut_off(path: Path, num_bytes: int, wanted: str) -> ConfigError:
    return ConfigError(f"{path} is cut off: it has {num_bytes:,} bytes of {wanted}. {DOWNLOAD}")


def _read_span(name: str, tensor: Any, path: Path) -> tuple[int, int]:
    """Return the first byte of a tensor's data and the one behind its last, counted from the end of the header."""
    fields: dict[str, Any] = tensor if isinstance(tensor, dict) else {}
    shape, span = fields.get("shape"), fields.get("data_offsets")
    dtype = str(fields.get("dtype"))
    item_bytes = ITEM_BYTES.get(dtype)
    if (
        len(name) > MAX_NAME_CHARACTERS
        or fields.keys() != {"dtype", "shape", "data_offsets"}
        or item_bytes is None
        or not _are_sizes(shape)
        or not _are_sizes(span)
        or len(span) != 2
        or span[1] - span[0] != prod(shape) * item_bytes
    ):
        found = json.dumps(tensor)[:200]
        raise ConfigError(f"{path}: the tensor {name[:100]!r} is {found}, which no encoder's is. {REMEDY}")
    if name.endswith(WEIGHTS_ENDS) and dtype not in FLOATS:
        raise ConfigError(
            f"{path}: the tensor {name!r} has the type {dtype}: the weights are quantised. Choose the model before "
            "that, in fp32, fp16 or bf16."
        )
    return span[0], span[1]


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and len(values) <= 8 and all(type(size) is int and size >= 0 for size in values)
