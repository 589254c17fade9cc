"""Which files of a model directory are opened, and that each is a plain file; knows no content.

A stranger may have made the directory. The files named here are the only ones that are opened. Published models hold
many others (README.md, pytorch_model.bin, onnx/, 1_Pooling/): these stay unread, whatever they are.

A link is the plain file that it leads to, wherever that lies: so the Hub's cache, DVC, git-annex and people lay models
out. A stranger's link to a private file does not give that file away, because each file is read as one thing alone
(weights, a configuration, a vocabulary), and a file that is not that is refused without a word of what it holds. Only
the files of another model would be read, so links that leave the directory are shown.
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
STORED_BY_HASH = re.compile(
    r"/models--[^/]+/blobs/[0-9a-f]{40,64}$"  # the Hub's cache
    r"|/annex/objects/.*/[A-Z0-9]+-s\d+--[^/]+$"  # git-annex
    r"|/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$"  # DVC
)
"""Paths to which tools link the files of a model, so that nobody needs to be told."""
SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
REMEDY = "Take the model from its maker again, or choose another."


def list_model_files(root: Path) -> frozenset[str]:
    """Return the names in the directory `root` of files that may be opened."""
    try:
        names = os.listdir(root)
    except OSError as error:
        raise ConfigError(f"{root} cannot be read ({error.strerror}). Name a directory that holds a model.") from None
    return frozenset(name for name in names if name in MAX_BYTES or WEIGHTS_FILE.fullmatch(name))


def find_plain_file(root: Path, name: str) -> Path:
    """Return the path of the plain file that `name` is, or that a link of this name leads to.

    ConfigError for a pipe, a socket, a device, a directory, a link to nothing, and a link to a file of the system.
    """
    path, real = root / name, Path(os.path.realpath(root / name))
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError as error:
        raise ConfigError(f"{path} {_explain_unreadable(path, error)}") from None
    if kind != stat.S_IFREG:
        found = "a directory" if kind == stat.S_IFDIR else "a pipe, a socket or a device"
        raise ConfigError(f"{path} is {found}, not a plain file. {REMEDY}")
    if any(real.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        raise ConfigError(f"{path} is a link to {real}, a file of the system. {REMEDY}")
    return real


def leads_outside(root: Path, real: Path) -> bool:
    """Return whether the real path of a model's file lies outside its directory, and in no store of a known tool."""
    return not real.is_relative_to(os.path.realpath(root)) and not STORED_BY_HASH.search(str(real))


def read_model_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the bytes of a file that `find_plain_file` gave; ConfigError when it has more than `max_bytes`."""
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


def _explain_unreadable(path: Path, error: OSError) -> str:
    """Return why a file cannot be looked at, and the remedy, as the end of a sentence."""
    if not path.is_symlink():
        return f"cannot be read ({error.strerror}). Correct its permissions."
    target = os.readlink(path)
    if "/annex/objects/" in target:
        return "is a link of git-annex to a file that is not here. Fetch it with: git annex get"
    return f"is a link to {target}, which cannot be read ({error.strerror}). {REMEDY}"
