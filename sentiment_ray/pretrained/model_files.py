"""Which files of a model directory are opened, and that each is a plain file of that model; knows no content.

A stranger may have made the directory. The files named here are the only ones that are opened. Published models hold
many others (README.md, pytorch_model.bin, onnx/, 1_Pooling/): these stay unread, whatever they are.

A link is followed when it leads to a plain file in the same directory, or to a file of the Hub's cache, whose
snapshots are links: `models--OWNER--NAME/snapshots/COMMIT/config.json` leads to `../../blobs/HASH`. Any other link
would let a model that was unpacked here read files that are not its own.
"""

import os
import re
import stat
from pathlib import Path

from sentiment_ray.errors import ConfigError

MAX_BYTES = {
    "config.json": 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 4 << 20,
    "special_tokens_map.json": 1 << 20,
    "added_tokens.json": 16 << 20,
    "vocab.txt": 32 << 20,
    "vocab.json": 32 << 20,
    "merges.txt": 32 << 20,
    "model.safetensors.index.json": 16 << 20,
}
"""The files that are read whole, and how large each may be."""
WEIGHTS_NAME, INDEX_NAME = "model.safetensors", "model.safetensors.index.json"
WEIGHTS_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.safetensors")
"""Names without separators, and without the dots that lead to a directory above."""
HUB_BLOB = re.compile(r"/models--[^/]+/blobs/[0-9a-f]{40,64}")
REMEDY = "Take the model from its maker again, or choose another."


def list_model_files(root: Path) -> dict[str, Path]:
    """Return the path behind each file of a model that may be opened, by its name in the directory `root`.

    ConfigError for one that is a pipe, a socket, a device, a directory, or a link that leads elsewhere.
    """
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise ConfigError(f"{root} cannot be read ({error.strerror}). Name a directory that holds a model.") from None
    return {name: _plain_file(root, name) for name in names if name in MAX_BYTES or WEIGHTS_FILE.fullmatch(name)}


def read_model_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the bytes of a file that `list_model_files` gave; ConfigError when it has more than `max_bytes`."""
    try:
        # A pipe that took the file's place would wait for its writer; it is opened without waiting, and refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise ConfigError(f"{path} is no plain file. {REMEDY}")
            if info.st_size > max_bytes:
                raise ConfigError(f"{path} has {info.st_size:,} bytes; at most {max_bytes:,} are read. {REMEDY}")
            return file.read(max_bytes)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Correct its permissions.") from None


def checkpoint_of_run(run: Path, name: str) -> Path:
    """Return the directory of a checkpoint that run.json names; ConfigError when it is not inside the run."""
    path = run / name
    if not path.resolve().is_relative_to(run.resolve()):
        raise ConfigError(f"{run / 'run.json'} names the checkpoint {name[:200]!r}, outside the run. Train it again.")
    return path


def _plain_file(root: Path, name: str) -> Path:
    """Return the path of the plain file that `name` is, or that a link of this name leads to."""
    path, real = root / name, Path(os.path.realpath(root / name))
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): a link to nothing? {REMEDY}") from None
    if kind != stat.S_IFREG:
        found = "a directory" if kind == stat.S_IFDIR else "a pipe, a socket or a device"
        raise ConfigError(f"{path} is {found}, not a plain file. {REMEDY}")
    if not real.is_relative_to(os.path.realpath(root)) and not HUB_BLOB.fullmatch(os.sep.join(["", *real.parts[-3:]])):
        raise ConfigError(f"{path} is a link to {real}, outside the model's directory. Put the file itself there.")
    return real
