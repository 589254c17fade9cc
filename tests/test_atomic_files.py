"""Files and directories get their names on file systems that lack hard links, renames over a file, fsync or chmod."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.atomic_files import new_directory, write_file
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import add_hashes, describe_inputs, find_finished_result, remove_all, write_json
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.storage import Store, open_store


def failing(number: int) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture(params=["exfat", "share", "fuse"])
def poor_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system without hard links and chmod, and one that renames to free names alone and has no fsync."""
    rename = os.rename

    def rename_to_free_name(source: Any, target: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        rename(source, target)

    if request.param in ("exfat", "fuse"):
        monkeypatch.setattr(os, "link", failing(errno.EPERM if request.param == "exfat" else errno.ENOSYS))
        monkeypatch.setattr(os, "chmod", failing(errno.EPERM))
    if request.param in ("share", "fuse"):
        monkeypatch.setattr(os, "replace", rename_to_free_name)
        monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
        monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    yield


@pytest.mark.usefixtures("poor_file_system")
def test_a_poor_file_system_takes_files_locks_and_directories(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_file(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    store = open_store(str(tmp_path / "scores [v2]"))
    assert (store.create("a/b", b"1"), store.create("a/b", b"2"), store.read("a/b")) == (True, False, b"1")
    store.write("a/b", b"3")
    assert store.read("a/b") == b"3"
    refused = pytest.raises(ConfigError, match="is being written by another run")
    with hold_lock(store, "scores"), refused, hold_lock(store, "scores"):
        pass
    for _ in range(2):
        with new_directory(tmp_path / "directory") as directory:
            write_json(directory / "a.json", {})
    assert [path.name for path in (tmp_path / "directory").iterdir()] == ["a.json"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_disk_that_is_full_is_not_taken_for_a_poor_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    for operation in ("fsync", "link", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(os, operation, failing(errno.ENOSPC))
            store.create(operation, b"")
            store.write(operation, b"")


def test_a_directory_of_a_lower_layer_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").touch()
    rename = os.rename

    def refuse_lower_layer(source: Any, target: Any, **options: Any) -> None:
        if os.fspath(source).endswith("/out"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", refuse_lower_layer)
    with new_directory(tmp_path / "out") as directory:
        (directory / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/new"]


def test_the_old_directory_comes_back_when_the_new_one_cannot_be_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").touch()
    rename = os.rename

    def fail_for_new(source: Any, target: Any, **options: Any) -> None:
        if os.fspath(source).endswith(".tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", fail_for_new)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), new_directory(tmp_path / "out"):
        pass
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_the_longest_name_has_room_for_a_temporary_one(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127, "名" * 85):
        with new_directory(tmp_path / name) as directory:
            (directory / "a").touch()
        assert (tmp_path / name / "a").exists()


def test_a_restart_refuses_to_remove_what_the_stage_did_not_write(tmp_path: Path) -> None:
    own_files = re.compile(r"a\.json|train/part-\d+\.parquet").fullmatch
    write_json(tmp_path / "a.json", {"fingerprint": "old"})
    (tmp_path / "train").mkdir()
    (tmp_path / "train/part-00000.parquet").touch()
    (tmp_path / ".DS_Store").touch()
    keys: dict[str, Any] = {"restart": True, "own_files": own_files}
    assert find_finished_result(tmp_path, "a.json", "new", **keys) is None
    for name in ("thesis.txt", "train/notes.txt", "train/part-1.csv", "other/part-00000.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        with pytest.raises(ConfigError, match=f"holds '{name}', which this stage did not write and would remove"):
            find_finished_result(tmp_path, "a.json", "new", **keys)
        assert find_finished_result(tmp_path, "a.json", "old", **keys)
        (tmp_path / name).unlink()
    (tmp_path / "elsewhere").symlink_to("/")
    with pytest.raises(ConfigError, match="holds 'elsewhere'"):
        find_finished_result(tmp_path, "a.json", "new", **keys)


def test_a_directory_that_was_moved_to_another_disk_is_emptied_there(tmp_path: Path) -> None:
    (tmp_path / "disk/1/epoch").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/attempts").symlink_to(tmp_path / "disk")
    (tmp_path / "run/mine").touch()
    remove_all(tmp_path / "run", "attempts", "run.json")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "disk", "run", "run/attempts", "run/mine",
    ]  # fmt: skip


def test_a_name_with_brackets_is_no_pattern_when_files_are_removed(tmp_path: Path, s3: str) -> None:
    for store in (open_store(str(tmp_path / "a[1]*")), open_store(f"{s3}/a[1]*")):
        neighbour = Store(store.fs, store.root.replace("[1]*", "1"))
        for each in (store, neighbour):
            for name in ("x/1", "x/2::y", "z?"):
                each.write(name, name.encode())
        assert {"x", "z?"} <= set(store.list_top())
        store.remove("x")
        store.remove("z?")
        assert set(store.list()) == set()
        assert set(neighbour.list()) == {"x/1", "x/2::y", "z?"}
        neighbour.remove("z?")
        assert set(neighbour.list()) == {"x/1", "x/2::y"}


def test_a_touched_file_keeps_its_time_and_a_changed_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("first")
    earlier = add_hashes(describe_inputs([path], []))
    os.utime(path, (1, 1))
    without_hash = [{key: value for key, value in file.items() if key != "sha256"} for file in earlier]
    for known, is_same in ((earlier, True), (without_hash, False), ([], False)):
        (file,) = describe_inputs([path], known)
        assert (file["modified_ns"] == earlier[0]["modified_ns"]) == is_same
    for content in ("other", "longer than before"):
        path.write_text(content)
        assert describe_inputs([path], earlier) == describe_inputs([path], [])
