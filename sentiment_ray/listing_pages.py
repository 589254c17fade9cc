"""Lists very many files of an object store a page at a time, which `find` of fsspec cannot; knows no stage."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

PAGE = 1_000
"""Files of a page, as many as S3 gives in one answer."""


def has_pages(fs: AbstractFileSystem) -> bool:
    """Whether a file system can list a prefix page by page; of those of fsspec, s3fs can."""
    return hasattr(fs, "_iterdir") and hasattr(fs, "split_path")


def find_pages(fs: AbstractFileSystem, path: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the details of every file below a path by path, a page at a time. Any error of a listing is raised."""
    bucket, key, _ = fs.split_path(path)
    details = fs._iterdir(bucket, delimiter="", prefix=key.rstrip("/") + "/" if key else "")
    while page := sync(fs.loop, _take, details):
        yield page


async def _take(details: AsyncIterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    page: dict[str, dict[str, Any]] = {}
    async for info in details:
        page[info["name"]] = info
        if len(page) == PAGE:
            break
    return page
