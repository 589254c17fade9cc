"""Writes or removes a file only as the version that its caller has seen, so that no newer one is lost; repeats nothing.

S3 compares the version and acts in one step (If-Match). On a disk and in other stores the version is looked at first,
and the step follows at once. Everywhere a file is created in one step where there is none, except on a disk without
hard links.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from sentiment_ray.atomic_files import place_file, place_if_free
from sentiment_ray.store_faults import name_existing

LARGEST_COMPARED_BYTES = 64 * 2**20
"""Bytes of a file that replaces another one in one step. A larger one is uploaded in pieces, for which s3fs can only
compare whether there is none."""


@dataclass(frozen=True)
class FileInfo:
    """Size of a file, and a text that changes with its content: the store's ETag, or the time of its last change."""

    bytes: int
    version: str


class OtherVersionError(Exception):
    """A file is there, and it is not the one that the caller has seen."""


def make_file_info(info: dict[str, Any]) -> FileInfo:
    """Return size and version of a file from the details that fsspec gives; without any other version, the size."""
    num_bytes = int(info.get("size") or 0)
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "generation", "created")
    version = next((info[key] for key in keys if info.get(key)), f"{num_bytes} bytes")
    return FileInfo(num_bytes, str(version))


def place_version(fs: AbstractFileSystem, temporary: Path, path: str, seen: FileInfo | None) -> None:
    """Give a finished file its name on a disk, as `put_version`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if seen is not None:
        _refuse_other_version(fs, path, seen)
        place_file(temporary, target)
        return
    try:
        place_if_free(temporary, target)
    except FileExistsError as error:
        raise OtherVersionError(path) from error


def put_version(fs: AbstractFileSystem, content: bytes | Path, path: str, seen: FileInfo | None) -> None:
    """Write an object where the version is that the caller has `seen`, or where there is none if that is None.

    OtherVersionError when another one is there, or none although one was seen.
    """
    conditions: dict[str, str] = {"mode": "create"}
    if seen is not None:
        num_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
        if compares_versions(fs) and num_bytes <= LARGEST_COMPARED_BYTES:
            conditions = {"IfMatch": seen.version}
        elif compares_versions(fs):
            remove_version(fs, path, seen)
        else:
            _refuse_other_version(fs, path, seen)
            conditions = {}
    try:
        with name_existing():
            if isinstance(content, bytes):
                fs.pipe_file(path, content, **conditions)
            else:
                fs.put_file(str(content), path, **conditions)
    except FileExistsError as error:
        raise OtherVersionError(path) from error
    except FileNotFoundError as error:
        if seen is None:
            raise
        raise OtherVersionError(path) from error


def remove_version(fs: AbstractFileSystem, path: str, seen: FileInfo) -> None:
    """Remove a file that the caller has `seen`: OtherVersionError when another one is there, or none."""
    try:
        if not compares_versions(fs):
            _refuse_other_version(fs, path, seen)
            fs.rm_file(path)
            return
        bucket, key, _ = fs.split_path(path)
        with name_existing():
            fs.call_s3("delete_object", Bucket=bucket, Key=key, IfMatch=seen.version)
    except (FileExistsError, FileNotFoundError) as error:
        raise OtherVersionError(path) from error


def compares_versions(fs: AbstractFileSystem) -> bool:
    """Whether a store compares a version and writes or removes the file in one step; of those of fsspec, S3 does."""
    return hasattr(fs, "call_s3")


def _refuse_other_version(fs: AbstractFileSystem, path: str, seen: FileInfo) -> None:
    fs.invalidate_cache()
    try:
        found = make_file_info(fs.info(path))
    except FileNotFoundError:
        found = None
    if found != seen:
        raise OtherVersionError(path)
