"""The header of a safetensors file: which tensors it holds, and that they fill the file; reads no weights.

The format: https://huggingface.co/docs/safetensors/index#format
"""

import json
import os
import struct
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from sentiment_ray.bundle.files import parse_json
from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.model_files import REMEDY

LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 100_000
MAX_NAME_CHARACTERS = 512
METADATA = "__metadata__"
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
}  # fmt: skip
GIT_LFS_POINTER = b"version https://git-lfs"


def read_weights_header(path: Path) -> dict[str, int]:
    """Return the number of values in each tensor of a safetensors file, by name.

    ConfigError when the file is none, holds other types than encoders have, was not written by PyTorch, or when a
    tensor claims bytes that it does not have or shares with another.
    """
    num_bytes = os.stat(path).st_size
    with path.open("rb") as file:
        start = file.read(len(GIT_LFS_POINTER))
        if start == GIT_LFS_POINTER:
            raise ConfigError(f"{path} is a pointer of Git LFS, not the weights. Fetch them with: git lfs pull")
        length = LENGTH.unpack_from(start)[0] if len(start) >= LENGTH.size else num_bytes
        if length > min(MAX_HEADER_BYTES, num_bytes - LENGTH.size):
            raise ConfigError(f"{path} is no safetensors file, or is cut off. {REMEDY}")
        file.seek(LENGTH.size)
        header = parse_json(file.read(length), path, remedy=REMEDY)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or metadata.get("format", "pt") != "pt":
        raise ConfigError(f"{path} has the metadata {str(metadata)[:100]}, not those of PyTorch. {REMEDY}")
    if len(header) > MAX_TENSORS:
        raise ConfigError(f"{path} holds {len(header):,} tensors, more than any encoder has. {REMEDY}")
    spans = sorted(_span(name, tensor, path) for name, tensor in header.items())
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1] or ends[-1] != num_bytes - LENGTH.size - length:
        raise ConfigError(f"{path}: its tensors overlap, leave gaps, or do not end where the file does. {REMEDY}")
    return {name: prod(tensor["shape"]) for name, tensor in header.items()}


def _span(name: str, tensor: Any, path: Path) -> tuple[int, int]:
    """Return the first byte of a tensor's data and the one behind its last, counted from the end of the header."""
    fields: dict[str, Any] = tensor if isinstance(tensor, dict) else {}
    shape, span = fields.get("shape"), fields.get("data_offsets")
    item_bytes = ITEM_BYTES.get(str(fields.get("dtype")))
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
    return span[0], span[1]


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and len(values) <= 8 and all(type(size) is int and size >= 0 for size in values)
