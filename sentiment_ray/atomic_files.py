"""Gives finished files and directories their names in one step. Knows nothing of their content.

Some file systems lack a step: exFAT and many FUSE mounts have no hard links, some network shares rename to a free name
alone, others refuse fsync or chmod. There the next best way is taken; it is not one step, but it works.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentiment_ray.errors import ConfigError

MAX_NAME_BYTES = 255
UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES})
"""Errors by which a file system says that it lacks an operation."""


def place_file(temporary: Path, target: Path) -> None:
    """Give a finished file its name, replacing an older file. A crash leaves the old content or the new, no part."""
    _allow_reading(temporary)
    _sync(temporary)
    try:
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EEXIST} or not target.is_file():
            raise
        os.unlink(target)
        os.rename(temporary, target)
    with suppress(PermissionError):  # a directory that cannot be opened
        _sync(target.parent)


def place_new_file(temporary: Path, target: Path) -> None:
    """Give a finished file its name unless a file has it: FileExistsError. Of several calls at once, one succeeds.

    Without hard links a crash may leave a part of the file.
    """
    _allow_reading(temporary)
    _sync(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EMLINK, errno.EXDEV}:
            raise
        with target.open("xb") as file, temporary.open("rb") as source:
            shutil.copyfileobj(source, file)
            file.flush()
            _ignore_unsupported(os.fsync, file.fileno())
    with suppress(PermissionError):  # a directory that cannot be opened
        _sync(target.parent)


def place_if_free(temporary: Path, target: Path) -> None:
    """Give a finished file its name unless another has it: FileExistsError. A crash leaves the file or none, no part.

    Without hard links another process may take the name between the look and the step.
    """
    _allow_reading(temporary)
    _sync(temporary)
    try:
        os.link(temporary, target)
        os.unlink(temporary)  # both names are one file
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EMLINK, errno.EXDEV}:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(temporary, target)
    with suppress(PermissionError):  # a directory that cannot be opened
        _sync(target.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file in one step, through a temporary file beside it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(data)
        place_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def name_beside(final: Path, ending: str) -> Path:
    """Return a free hidden name beside `final`, which is cut so that it is not too long for the file system."""
    suffix = f".{uuid.uuid4().hex[:8]}.{ending}"
    start = final.name.encode()[: MAX_NAME_BYTES - 1 - len(suffix)].decode(errors="ignore")
    return final.with_name(f".{start}{suffix}")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `final` that gets its name when the block ends without an error.

    If the block raises, the temporary directory is removed and `final` stays as it was.
    """
    final = final.resolve()  # a link is kept, and its target is replaced
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_beside(final, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        _place_directory(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _place_directory(temporary: Path, final: Path) -> None:
    """Rename a finished directory to `final`; an older one is moved aside before and removed afterwards."""
    retired = name_beside(final, "old")
    try:
        final.rename(retired)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(final, retired)  # overlay file systems do not rename a directory of a lower layer
    try:
        temporary.rename(final)
    except OSError as error:
        if retired.exists():
            retired.rename(final)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ConfigError(
                f"output = {str(final)!r} was written by another run meanwhile, and is kept as it is."
            ) from None
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _allow_reading(file: Path) -> None:
    """Give a file the permissions of any new file; a temporary one is for its owner alone."""
    _ignore_unsupported(os.chmod, file, 0o666 & ~_read_umask())


def _sync(path: Path) -> None:
    """Wait until a file or a directory is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _ignore_unsupported(os.fsync, handle)
    finally:
        os.close(handle)


def _ignore_unsupported(operation: Callable[..., object], *arguments: object) -> None:
    try:
        operation(*arguments)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _read_umask() -> int:
    """Return the umask of this process. It can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
