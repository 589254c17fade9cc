"""What a path that a person gave means, and which paths are refused."""

import os
from pathlib import Path

import pytest

from sentiment_ray.errors import ConfigError, MissingExtraError
from sentiment_ray.paths import absolute_location, check_output, find_disk_failure, local_path
from sentiment_ray.store_location import is_local, open_location

URLS = ("s3://bucket/a::b", "gs://bucket/a b", "simplecache::s3://bucket/x", "zip://a.csv::s3://bucket/x.zip")
LOCAL = ("in::put", "a:b", "s3:/bucket", "C:\\x", "a#b?c%20d*e[1]", "-dash", "~nobody-has-this-name/x", "名 前", " ")


def test_a_location_is_a_url_only_with_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for url in URLS:
        assert absolute_location(url, "input") == url
        with pytest.raises(ConfigError, match="prepared = .* is a URL; this stage works on local paths"):
            local_path(url, "prepared")
    for path in LOCAL:
        assert absolute_location(path, "input") == str(tmp_path / path)
    assert absolute_location("~/x", "input") == str(tmp_path / "home/x")
    assert absolute_location("a/../b/./c//", "input") == str(tmp_path / "b/c")
    assert absolute_location("//tmp/x", "input") == "/tmp/x"


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    for url, expected in {
        f"file://{tmp_path}/x": "x",
        f"file://localhost{tmp_path}/x": "x",
        f"local://{tmp_path}/x": "x",
        f"FILE://{tmp_path}/x": "x",
        f"file:{tmp_path}/x": "x",  # as Spark and Java write it
        f"File:{tmp_path}/n%20x": "n x",
        f"file://{tmp_path}/n%C3%A4me%20x": "näme x",
        f"file://{tmp_path}/a%20b": "a%20b",  # as it exists
    }.items():
        assert local_path(url, "input") == tmp_path / expected
        assert absolute_location(url, "input") == str(tmp_path / expected)


def test_the_protocol_of_a_url_may_be_in_capitals() -> None:
    assert absolute_location("S3://Bucket/A", "input") == "s3://Bucket/A"
    assert absolute_location("SimpleCache::S3://Bucket/A", "input") == "simplecache::s3://Bucket/A"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hdfs://namenode/reviews", "cannot be opened .*libjvm|hdfs"),
        ("dbfs://reviews", "cannot be opened .*token"),
        ("abfss://container@account.dfs.core.windows.net/reviews", "its library is not installed.*pip install 'adlfs'"),
        ("s4://bucket", "Protocol not known: s4. Use a local path, s3://"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(url: str, words: str) -> None:
    with pytest.raises((ConfigError, MissingExtraError), match=words) as refused:
        open_location(url)
    assert str(refused.value).startswith(url)
    assert "\n" not in str(refused.value)


def test_a_name_is_not_split_at_colons() -> None:
    for path in ("/a/in::put", "/a::b/c"):
        fs, found = open_location(path)
        assert (is_local(fs), found) == (True, os.path.normpath(path))
    pytest.importorskip("s3fs")
    for url in ("s3://bucket/a::b/c.parquet", "s3://bucket/a[1]::*/c"):
        fs, found = open_location(url)
        assert (is_local(fs), found) == (False, url.removeprefix("s3://"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "input is empty"),
        ("a\0b", "NUL character"),
        ("n" * 256, "a name in it is too long"),
        ("a/" * 3000, "too long"),
        ("caf\udce9", "not UTF-8"),
        ("file://host/x", "names the host 'host'"),
        ("file://x", "names the host 'x'"),
    ],
)
def test_a_path_that_cannot_be_is_named(path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        local_path(path, "input")


def test_a_full_disk_is_found_behind_what_libraries_raise() -> None:
    full = OSError(28, "No space left on device", "/out/part")
    wrapped = RuntimeError("torch says nothing")
    wrapped.__context__ = full
    task = RuntimeError("a task of Ray")
    task.cause = full  # type: ignore[attr-defined]
    for error in (full, wrapped, task):
        failure = find_disk_failure(error)
        assert failure is not None
        assert str(failure).startswith("no space is left on the disk (/out/part). ")
        assert failure.exit_code == 1
    assert "no space is left" in str(find_disk_failure(ValueError("IoError: No space left on device (os error 28)")))
    for other in (OSError(2, "gone"), ValueError("28"), KeyError("(os error 2)")):
        assert find_disk_failure(other) is None


def test_an_output_is_tried_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target not yet there")
    for name in ("new", "deep/new/one", "a [b]*?#%", "link", "n" * 255):
        for replaces in (True, False):
            check_output(tmp_path / name, replaces_directory=replaces)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
