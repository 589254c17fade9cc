"""A file is written or removed only as the version that the caller has seen: on a disk, on S3, and elsewhere."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_ray import atomic_files, file_versions
from sentiment_ray.file_versions import FileInfo, OtherVersionError
from sentiment_ray.storage import Store, open_store


@pytest.fixture(params=["disk", "disk without links", "s3", "s3 in pieces", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "disk without links":

        def refuse_link(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(atomic_files.os, "link", refuse_link)
    if request.param == "s3 in pieces":
        monkeypatch.setattr(file_versions, "LARGEST_COMPARED_BYTES", 0)
    places = {"disk": f"{tmp_path}/out", "s3": f"{s3}/{uuid.uuid4()}", "memory": f"memory://{uuid.uuid4()}"}
    return open_store(places[request.param.split()[0]])


@pytest.fixture(params=["bytes", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], bytes | Path]:
    def make(content: bytes) -> bytes | Path:
        file = tmp_path / "new"
        file.write_bytes(content)
        return file if request.param == "file" else content

    return make


def test_only_the_version_that_was_seen_is_replaced_or_removed(
    store: Store, make: Callable[[bytes], bytes | Path]
) -> None:
    first = store.write_version("a", make(b"first"), None)
    assert first == store.describe("a")
    with pytest.raises(OtherVersionError):
        store.write_version("a", make(b"second"), None)
    second = store.write_version("a", make(b"second, longer"), first)
    for seen in (first, FileInfo(second.bytes, "another")):
        with pytest.raises(OtherVersionError):
            store.write_version("a", make(b"third"), seen)
        with pytest.raises(OtherVersionError):
            store.remove_version("a", seen)
    assert store.read("a") == b"second, longer"
    store.remove_version("a", second)
    for change in (lambda: store.write_version("a", make(b"4"), second), lambda: store.remove_version("a", second)):
        with pytest.raises(OtherVersionError):
            change()
    assert list(store.list()) == []
