"""Lists the files below a local directory, without taking a directory that cannot be read for an empty one."""

import os
from typing import Any


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
