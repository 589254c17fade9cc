"""Faults of an object store behind fsspec: none is taken for "not there", and keys that have expired are asked for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from sentiment_ray.errors import first_line, iterate_causes
from sentiment_ray.retrying import PassingFault, is_passing

REFUSALS = re.compile(
    r"\(400\)|ExpiredToken|InvalidToken|TokenRefreshRequired|RequestExpired|InvalidAccessKeyId|SignatureDoesNotMatch"
)
"""How S3 says that it refuses the keys. Its answer to HEAD has no text, only the number 400."""

PRECONDITION_FAILED = ("PreconditionFailed", "pre-conditions", "conditionNotMet")
"""How stores say that a file exists already, in the messages of their libraries."""


@contextmanager
def watch_faults(fs: AbstractFileSystem) -> Iterator[None]:
    """Let the block use a store: after an answer that refuses the keys they are asked for again, for the next try.

    PassingFault where a library says "no such file" because the store could not be reached.
    """
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and is_passing(cause):
            raise PassingFault(f"the store cannot be reached ({first_line(cause)})") from error
        raise
    except Exception as error:
        if refuses_keys(error):
            renew_keys(fs)
        raise


@contextmanager
def name_existing() -> Iterator[None]:
    """Raise FileExistsError for each answer by which a store says that a file exists already."""
    try:
        yield
    except OSError as error:
        if any(words in str(error) for words in PRECONDITION_FAILED):
            raise FileExistsError(str(error)) from error
        raise


def refuses_keys(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the store does not accept the keys, as when they have expired."""
    return any(isinstance(cause, PermissionError) or REFUSALS.search(str(cause)) for cause in iterate_causes(error))


def renew_keys(fs: AbstractFileSystem) -> None:
    """Let s3fs look for its keys again in every place where it may find them. The other libraries do so by themselves.

    Botocore renews the keys of a role in time. It reads those of a file, which another program may replace, only once.
    """
    if hasattr(fs, "set_session"):
        fs.session = None
        fs.connect(refresh=True)


def find_files(fs: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """Return the details of every file below a path by path. Any error of a listing is raised.

    The libraries of S3, Google Cloud Storage and Azure list a whole prefix. For others fsspec walks the directories
    and passes over each one that it cannot list, so they are walked here.
    """
    if not _finds_as_fsspec(fs):
        return dict(fs.find(path, detail=True))
    files: dict[str, dict[str, Any]] = {}
    directories = [path]
    while directories:
        directory = directories.pop()
        for info in _list_directory(fs, directory, is_top=directory == path):
            if info["type"] == "directory":
                directories.append(info["name"])
            else:
                files[info["name"]] = info
    return files


def is_directory(fs: AbstractFileSystem, path: str) -> bool:
    """Whether a path is a directory. Any error but "no such file" is raised; the libraries answer no."""
    try:
        return bool(fs.info(path)["type"] == "directory")
    except (FileNotFoundError, NotADirectoryError):
        return False


def _finds_as_fsspec(fs: AbstractFileSystem) -> bool:
    """Whether a file system has `find` from fsspec's own classes."""
    find = getattr(fs, "_find" if isinstance(fs, AsyncFileSystem) else "find", None)
    return getattr(find, "__func__", None) in (AbstractFileSystem.find, AsyncFileSystem._find)


def _list_directory(fs: AbstractFileSystem, path: str, *, is_top: bool) -> list[dict[str, Any]]:
    try:
        return [info for info in fs.ls(path, detail=True) if info["name"].rstrip("/") != path or info["type"] == "file"]
    except FileNotFoundError:
        if is_top:
            raise
        return []  # another process has removed it meanwhile
