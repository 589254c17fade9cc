"""Lists the files below a local directory, and makes temporary ones; other processes may change it meanwhile."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_TRIES = 16


def walk_files(directory: str) -> dict[str, dict[str, Any]]:
    """Return the files below a local directory; OSError when one cannot be listed, which fsspec would take for empty.

    A link to a directory is followed: a person may have moved a part of an output to another disk.
    """
    files: dict[str, dict[str, Any]] = {}
    if not os.path.isdir(directory):
        os.stat(directory)
        return files

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # another process may remove a directory meanwhile
            raise error

    for parent, _, names in os.walk(directory, onerror=fail, followlinks=True):
        for name in names:
            path = os.path.join(parent, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                if not os.path.islink(path):
                    continue
                status = os.lstat(path)
            files[path] = {"size": status.st_size, "mtime": status.st_mtime}
    return files


def make_temporary_file(directory: Path | None, prefix: str) -> Path:
    """Make an empty file in a directory, which another process may remove at any moment as long as it is empty."""
    for _ in range(MAX_TRIES):
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            handle, name = tempfile.mkstemp(prefix=prefix, dir=directory)
            os.close(handle)
            return Path(name)
    raise OSError(errno.EBUSY, f"no temporary file can be made in {directory}")
