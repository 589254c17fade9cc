"""Only "not found" is absence: whatever else a store answers is tried again, and at last ends the run by name."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fsspec import AbstractFileSystem
from pyarrow import parquet

from sentiment_ray import output_lock
from sentiment_ray.errors import StorageError
from sentiment_ray.evaluate.tables import read_table
from sentiment_ray.input_files.listing import list_input
from sentiment_ray.local_copy import local_copy
from sentiment_ray.retrying import SYSTEM_CLOCK
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.footers import read_footer
from sentiment_ray.score.protocol import run_job
from sentiment_ray.score.scores_manifest import read_committed_manifest
from sentiment_ray.storage import Store, open_store
from tests.faults import Answer, FastClock, Proxy, Request, serve_proxy
from tests.score.test_protocol import LocalJob

ANSWERS = {
    "slow down": Answer(503, "SlowDown"),
    "internal error": Answer(500, "InternalError"),
    "too many requests": Answer(429, "TooManyRequests"),
    "access denied": Answer(403, "AccessDenied"),
    "conflict": Answer(409, "ConditionalRequestConflict"),
    "expired": Answer(400, "ExpiredToken"),
}


OUTAGES = 5
"""Starts of a run during which the store stops to answer well."""


@pytest.fixture
def proxy(s3: str) -> Iterator[Proxy]:
    with serve_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Proxy, request: pytest.FixtureRequest) -> Store:
    """A prefix of the bucket behind the proxy; its client tries each request once."""
    return _open_behind(proxy, f"reviews/faults/{request.node.name.replace(' ', '-')}")


def _open_behind(proxy: Proxy, root: str) -> Store:
    import s3fs

    retries = {"retries": {"max_attempts": 0}}
    fs = s3fs.S3FileSystem(
        endpoint_url=proxy.url, config_kwargs=retries, skip_instance_cache=True, use_listings_cache=False
    )
    fs.retries = 1
    return Store(fs, root, FastClock())


@pytest.fixture
def location(proxy: Proxy, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a directory that the stages reach through the proxy."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(SYSTEM_CLOCK, "sleep", lambda seconds: None, raising=False)
    yield f"{s3}/behind-a-proxy"
    s3fs.S3FileSystem.clear_instance_cache()


def _calls(store: Store, tmp_path: Path) -> dict[str, Any]:
    """Every call of a store, each with what it returns in peace."""
    (tmp_path / "file").write_bytes(b"moved")
    return {
        "read": lambda: store.read("there") == b"1",
        "parse": lambda: store.parse("there", lambda file: file.read()) == b"1",
        "sha256": lambda: len(store.sha256("there")) == 64,
        "describe": lambda: store.describe("there").bytes == 1,
        "describe what is not there": lambda: store.describe("nowhere") is None,
        "list": lambda: "there" in store.list(),
        "list what is not there": lambda: store.list("nowhere") == {},
        "list the top": lambda: "there" in store.list_top(),
        "write": lambda: store.write("written", b"12").bytes == 2,
        "create": lambda: store.create("created", random.randbytes(8)) or True,
        "move in": lambda: store.move_in(tmp_path / "file", "moved").bytes == 5,
        "remove": lambda: store.remove_file("written") is None,
        "copy": lambda: store.copy_to("there", tmp_path / "copy") is None and (tmp_path / "copy").read_bytes() == b"1",
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_a_refusal_is_tried_again_and_then_named(name: str, store: Store, proxy: Proxy, tmp_path: Path) -> None:
    store.write("there", b"1")
    for call_name, call in _calls(store, tmp_path).items():
        proxy.answer(2, ANSWERS[name])
        assert call(), call_name
        if name == "slow down" or call_name in ("list", "read"):
            proxy.answer(10**6, ANSWERS[name])
            with pytest.raises(StorageError, match=r"s3://reviews/faults/.* Run the same command again"):
                call()
    proxy.answer(0, ANSWERS[name])
    assert store.read("there") == b"1"


def test_a_body_that_is_cut_is_read_again(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    store.write("there", b"1" * 1000)
    for call in (
        lambda: store.read("there") == b"1" * 1000,
        lambda: store.parse("there", lambda file: file.read()) == b"1" * 1000,
        lambda: list(store.list()) == ["there"],
        lambda: store.copy_to("there", tmp_path / "copy") or (tmp_path / "copy").stat().st_size == 1000,
    ):
        proxy.answer(2, Answer(cuts=True), method="GET")
        assert call()
        proxy.answer(10**6, Answer(cuts=True), method="GET")
        with pytest.raises(StorageError, match="Run the same command again"):
            call()


@pytest.mark.parametrize("name", ["slow down", "access denied"])
def test_a_second_page_that_fails_ends_no_listing(name: str, store: Store, proxy: Proxy) -> None:
    for number in range(5):
        store.write(f"page/{number}", b"1")
    proxy.page_size = 2
    proxy.answer(2, ANSWERS[name], query="continuation-token")
    assert len(store.list("page")) == 5
    proxy.answer(10**6, ANSWERS[name], query="continuation-token")
    with pytest.raises(StorageError):
        store.list("page")


def test_a_directory_that_cannot_be_listed_is_not_empty_where_fsspec_walks() -> None:
    class Busy(AbstractFileSystem):
        """Knows how to list a directory, and nothing else, as the file systems of HDFS and SFTP do."""

        directories = {"out": ("out/a",), "out/free": ("out/free/b",), "out/busy": ("out/busy/c",)}

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            if path == "out/busy":
                raise OSError("the name node is in safe mode")
            if path not in self.directories:
                raise FileNotFoundError(path)
            files = [{"name": name, "type": "file", "size": 1} for name in self.directories[path]]
            below = [name for name in self.directories if name.rpartition("/")[0] == path]
            infos = files + [{"name": name, "type": "directory", "size": 0} for name in below]
            return infos if detail else [info["name"] for info in infos]

    fs = Busy()
    store = Store(fs, "out", FastClock())
    assert sorted(fs.find("out")) == ["out/a", "out/free/b"]
    with pytest.raises(StorageError, match="safe mode"):
        store.list()
    assert (list(store.list("free")), store.list("nowhere")) == (["free/b"], {})


def test_a_store_that_says_exists_and_shows_nothing_is_asked_again(store: Store, proxy: Proxy) -> None:
    proxy.answer(2, Answer(412, "PreconditionFailed"), method="PUT")
    assert store.create("lock", b"mine")
    assert not store.create("lock", b"of another run")
    proxy.answer(10**6, Answer(412, "PreconditionFailed"), method="PUT")
    with pytest.raises(StorageError, match="says that the file exists, and does not show it"):
        store.create("other lock", b"mine")


def _write_keys(path: Path, key: str) -> None:
    path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")


def test_keys_that_have_expired_are_asked_for_again(
    location: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program writes new keys into their file; every reader and writer of this process goes on with them."""
    file, valid = tmp_path / "keys", ["1"]
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    proxy.judge = lambda request: None if request.key == valid[0] else Answer(400, "ExpiredToken")
    _write_keys(file, "1")
    parquet.write_table(pa.table({"text": ["fine"]}), tmp_path / "a.parquet")
    store = open_store(location)
    store.move_in(tmp_path / "a.parquet", "a.parquet")
    url = f"{location}/a.parquet"
    calls = [
        lambda: store.read("a.parquet"),
        lambda: store.write("b", b"1"),
        lambda: store.describe("a.parquet"),
        lambda: store.list(),
        lambda: read_footer(url).group_rows,
        lambda: read_table(url).num_rows,
        lambda: list_input(location, label="input", formats=("parquet",)).files,
    ]
    for number, call in enumerate(calls, start=2):
        valid[0] = str(number)
        with pytest.raises(StorageError, match=r"has expired|refuses|Bad Request"):
            call()
        _write_keys(file, str(number))
        assert call()


def test_a_bundle_is_downloaded_as_a_whole(location: str, proxy: Proxy) -> None:
    open_store(location).write("bundle/bundle.json", b"{}" * 1000)
    proxy.answer(2, Answer(cuts=True), method="GET", path="bundle.json")
    with local_copy(f"{location}/bundle", "bundle", max_files=9, max_bytes=9999) as directory:
        assert (directory / "bundle.json").read_bytes() == b"{}" * 1000


def test_a_file_without_an_ending_is_not_passed_over_when_it_cannot_be_read(
    location: str, proxy: Proxy, tmp_path: Path
) -> None:
    parquet.write_table(pa.table({"text": ["fine"]}), tmp_path / "rows")
    for name in ("a.parquet", "rows"):
        open_store(location).move_in(tmp_path / "rows", f"unnamed/{name}")
    proxy.answer(10**6, Answer(503, "SlowDown"), method="GET", path="/rows")
    with pytest.raises(StorageError, match="cannot be listed"):
        list_input(f"{location}/unnamed", label="input", formats=("parquet",))
    proxy.answer(1, Answer(503, "SlowDown"), method="GET", path="/rows")
    found = list_input(f"{location}/unnamed", label="input", formats=("parquet",))
    assert [file.name for file in found.files] == ["a.parquet", "rows"]


def test_a_run_on_a_store_that_answers_badly_ends_by_name_and_goes_on(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request in ten is answered badly, and each of the first runs meets a store that soon answers nothing else.

    No finished unit is given up, and the result is that of a calm run.
    """
    generator, starts, left = random.Random(7), [1], [0]
    bad = [*(ANSWERS[name] for name in ("slow down", "internal error", "too many requests")), Answer(cuts=True)]
    deleted: list[str] = []

    def judge(request: Request) -> Answer | None:
        left[0] -= 1
        is_down = left[0] < 0 and len(ends) < OUTAGES
        answer = generator.choice(bad) if is_down or generator.random() < 0.1 else None
        if answer and (request.method == "GET" or not answer.cuts):
            return answer
        if request.method == "DELETE":
            deleted.append(request.path)
        return None

    def describe_process() -> dict[str, Any]:
        return {"host": "here", "boot": 1, "namespace": "", "pid": starts[0], "started": float(starts[0])}

    def run(store: Store, root: str) -> None:
        starts[0] += 1
        left[0] = generator.randrange(10, 100)
        run_job(store, LocalJob(ScoreConfig(bundle="b", input="/in", output=root, max_quarantined=1)))

    # Each start is another process, and the one before it has ended.
    monkeypatch.setattr(output_lock, "_describe_process", describe_process)
    monkeypatch.setattr(output_lock, "_start_time", lambda pid: float(pid) if pid == starts[0] else None)
    calm, disturbed = (_open_behind(proxy, f"reviews/faults/{name}") for name in ("calm", "disturbed"))
    run(calm, "calm")
    proxy.judge, ends = judge, list[str]()
    for _ in range(3 * OUTAGES):
        try:
            run(disturbed, "disturbed")
            break
        except StorageError as error:
            ends.append(str(error))
    proxy.judge = lambda request: None
    assert len(ends) >= OUTAGES and all("s3://reviews/faults/disturbed" in end or "disturbed" in end for end in ends)
    assert deleted and not [path for path in deleted if not path.startswith("/reviews/faults/disturbed/_")], "no part"
    excluded = ("_plan/", "_receipts/", "_MANIFEST", "_SUCCESS")
    files = [
        {name: store.read(name) for name in store.list() if not name.startswith(excluded)}
        for store in (calm, disturbed)
    ]
    assert files[0] == files[1]
    assert read_committed_manifest(disturbed)
