"""What a path that a person gave means, a URL or a local path, and whether it can be written. Reads no content."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sentiment_ray.errors import ConfigError, StorageError, iterate_causes

URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")
"""How a URL begins: with a protocol, or with several as fsspec chains them (simplecache::s3://)."""
LOCAL_URL = re.compile(r"(file|local)://|file:/", re.IGNORECASE)
"""How a URL of a local file begins. Spark and Java write one slash."""
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
NO_TEMPORARY_DIRECTORY = "No usable temporary directory found"
"""What Python says when neither TMPDIR nor /tmp can be written."""
PROBE_PREFIX = ".sentiment-ray-"
LEFT_BY_SYSTEMS = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs.*|\._.*")
"""Files that operating systems put into any directory; nobody misses them."""
DISK_FAILURES = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file is larger than the disk or a limit of the process allows",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an error",
    errno.ESTALE: "the network file system has lost the file",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "this machine has too many open files",
}
"""What can befall any file while a stage runs, in words."""
REASONS = DISK_FAILURES | {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ENOENT: "nothing can be made there",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EISDIR: "it is a directory",
    errno.ENAMETOOLONG: "a name in it is too long (most file systems allow 255 bytes)",
    errno.ELOOP: "its links lead in a circle",
    errno.EINVAL: "the file system does not allow such a name",
    errno.ENOSYS: "the file system lacks an operation that is needed",
    errno.EOPNOTSUPP: "the file system lacks an operation that is needed",
}


def is_url(location: str) -> bool:
    """Whether a location begins with `protocol://`. All others are local paths, whatever they contain."""
    return URL.match(location) is not None


def absolute_location(location: str, key: str) -> str:
    """Return a URL unchanged, and a local path or a file:// URL as an absolute local path; errors as `local_path`."""
    if is_url(location) and not LOCAL_URL.match(location):
        protocol, separator, rest = location.partition("://")
        return f"{protocol.lower()}{separator}{rest}"
    return str(local_path(location, key))


def local_path(path: str | Path, key: str) -> Path:
    """Return an absolute local path. ConfigError, naming the configuration key, for a URL or an impossible path.

    Ray's workers run in another directory, so a relative path would lead them elsewhere.
    """
    text = str(path)
    if "\0" in text:
        raise ConfigError(f"{key} = {text!r} contains a NUL character. Correct the path.")
    if not text:  # the current directory, for the operating system; for a person, a variable without a value
        raise ConfigError(f"{key} is empty. Give it a path.")
    if LOCAL_URL.match(text):
        text = _path_of_local_url(text, key)
    elif is_url(text):
        raise ConfigError(f"{key} = {text!r} is a URL; this stage works on local paths. Copy it to a local disk.")
    try:
        absolute = "/" + os.path.abspath(os.path.expanduser(text)).lstrip("/")  # abspath keeps two slashes at the start
    except FileNotFoundError:
        raise ConfigError(f"{key} = {text!r}: the current directory has been removed. Change to another.") from None
    _refuse_impossible(absolute, f"{key} = {text!r}")
    return Path(absolute)


def _path_of_local_url(url: str, key: str) -> str:
    """Return the path of file:///PATH, file:/PATH or file://localhost/PATH, with %20 as a space unless it exists."""
    parts = urlsplit(url)
    path = url.partition(":")[2]
    path = path.removeprefix("//").removeprefix("localhost") if path.startswith("//") else path
    if not path.startswith("/"):
        raise ConfigError(f"{key} = {url!r} names the host {parts.netloc!r}. Write file:///PATH, or the path alone.")
    return path if os.path.lexists(path) else unquote(path)


def _refuse_impossible(absolute: str, given: str) -> None:
    """Raise ConfigError for a path that no file can have here: too long, not UTF-8, a circle of links, no access."""
    try:
        absolute.encode()
        os.stat(absolute)
    except UnicodeEncodeError:
        shown = given.encode(errors="surrogateescape").decode(errors="replace")
        raise ConfigError(f"{shown}: the path is not UTF-8, so no result could name it. Rename it.") from None
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise ConfigError(f"{given} cannot be opened: {describe_os_error(error)}. Correct the path.") from None


def describe_os_error(error: OSError) -> str:
    """Return the reason of an error in words. Libraries of object stores use its numbers with words of their own."""
    is_of_system = error.errno and os.strerror(error.errno) in (error.strerror or os.strerror(error.errno))
    return (REASONS.get(error.errno or 0) if is_of_system else None) or error.strerror or str(error)


def find_disk_failure(error: BaseException) -> StorageError | None:
    """Return a StorageError when an exception, or what caused it, says that a disk is full or broken; else None."""
    for cause in iterate_causes(error):
        if NO_TEMPORARY_DIRECTORY in str(cause):
            return StorageError("no directory for temporary files can be written. Name one that can in TMPDIR.")
        number = _read_error_number(cause)
        if number in DISK_FAILURES:
            place = getattr(cause, "filename", None)
            return StorageError(
                f"{DISK_FAILURES[number]}{f' ({place})' if place else ''}. Mend that, then run the same command again: "
                "what is finished is kept."
            )
    return None


def _read_error_number(error: BaseException) -> int:
    """Return the operating system's error number of an exception, 0 without one. Libraries in Rust write it as text."""
    if isinstance(error, OSError):
        return error.errno or 0
    written = RUST_ERROR.search(str(error))
    return int(written[1]) if written else 0


def check_output(output: Path, key: str = "output", *, replaces_directory: bool) -> None:
    """Raise ConfigError unless a stage can write the directory `output`. Takes milliseconds and leaves nothing behind.

    A stage that replaces the whole directory writes a new one beside it and renames that; others write into it.
    """
    refuse_file(output, key)
    target = output.resolve()  # a link is kept, and its target is written
    if replaces_directory:
        _refuse_irreplaceable(target, key)
    directory = _find_existing(target.parent if replaces_directory else target)
    try:
        _try_to_write(directory, rename_directory=replaces_directory)
    except OSError as error:
        raise ConfigError(
            f"{key} = {str(output)!r} cannot be written: {describe_os_error(error)} ({directory}). "
            "Name another directory, or change what forbids it."
        ) from None


def refuse_file(output: Path, key: str = "output") -> None:
    """Raise ConfigError when an output is a file or lies below one."""
    existing = _find_existing(output)
    if existing == output and not existing.is_dir():
        raise ConfigError(f"{key} = {str(output)!r} is a file. Name a directory.")
    if not existing.is_dir():
        raise ConfigError(f"{key} = {str(output)!r} cannot be written: {existing} is a file. Name another directory.")
    if not os.access(existing, os.R_OK | os.X_OK):
        raise ConfigError(f"{key} = {str(output)!r}: no permission to read {existing}. Name another directory.")


def refuse_other_files(output: Path, own_files: Callable[[str], object], key: str = "output") -> None:
    """Raise ConfigError when a directory that is about to be replaced holds a file that its stage did not write.

    `own_files` says of a relative path whether the stage writes it.
    """
    for directory, folders, files in os.walk(output):
        links = [name for name in folders if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            path = os.path.relpath(os.path.join(directory, name), output)
            if not own_files(path) and not LEFT_BY_SYSTEMS.fullmatch(name):
                raise ConfigError(
                    f"{key} = {str(output)!r} holds {path!r}, which this stage did not write and would remove. "
                    "Move it elsewhere, or name another output."
                )


def _refuse_irreplaceable(target: Path, key: str) -> None:
    """Raise ConfigError for a directory that cannot be renamed, or that the user's shell is in."""
    if target.is_mount():
        raise ConfigError(f"{key} = {str(target)!r} is a mount point. Name a directory inside it.")
    if target.exists() and Path.cwd().is_relative_to(target):
        raise ConfigError(
            f"{key} = {str(target)!r} is the current directory or above it, and would be replaced. "
            "Name a directory inside it."
        )


def _find_existing(path: Path) -> Path:
    """Return a path itself or, when it does not exist, the nearest directory or file above it."""
    return next(each for each in (path, *path.parents) if os.path.exists(each))


def _try_to_write(directory: Path, *, rename_directory: bool) -> None:
    """Write a file in a new directory, rename what the stage will rename, and remove it."""
    probe = Path(tempfile.mkdtemp(prefix=PROBE_PREFIX, dir=directory))
    renamed = probe.with_name(f"{probe.name}.renamed")
    try:
        (probe / "file").write_bytes(b"0")
        (probe / "file").rename(probe / "renamed")
        if rename_directory:
            probe.rename(renamed)
    finally:
        for path in (probe, renamed):
            shutil.rmtree(path, ignore_errors=True)


def encode_name(name: str) -> bytes:
    """Return a file name as bytes; what is not UTF-8 in it comes back with `decode_name`."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(name: bytes) -> str:
    """Return the file name that `encode_name` has encoded."""
    return name.decode("utf-8", "surrogatepass")


def to_utf8(text: str) -> str:
    """Return a text with a question mark for what is not UTF-8 in it, as a column of strings needs it."""
    return text.encode("utf-8", "replace").decode()
