"""A pushed bundle arrives whole: in an object store, in a directory, and on a server with the API of the Hub."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from huggingface_hub.utils.sha import git_hash

from export.push import push_bundle
from sentiment_ray.bundle.open import open_bundle, verify_bundle
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.local_copy import local_copy
from sentiment_ray.storage import Store, open_store


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_a_bundle_in_an_object_store_is_the_same_bundle(bundle: Path, s3: str) -> None:
    url, source = f"{s3}/pushed", open_bundle(bundle)
    store = open_store(url)
    store.write("bundle.json", b"{}")
    store.write("onnx/stale.onnx", b"of an earlier bundle")
    push_bundle(source, url)
    with local_copy(url, "bundle", max_files=64, max_bytes=1 << 30) as copy:
        assert verify_bundle(copy).manifest == source.manifest
    before = store.list()
    push_bundle(source, url)
    assert store.list() == before


def test_a_bundle_on_a_disk_is_whole_and_may_have_the_files_that_the_hub_adds(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "pushed"
    push_bundle(open_bundle(bundle), f"file://{target}")
    assert verify_bundle(target).manifest == open_bundle(bundle).manifest
    (target / ".gitattributes").write_text("*.onnx filter=lfs")
    (target / ".cache/huggingface").mkdir(parents=True)
    assert verify_bundle(target)
    (target / "tokenizer.json").unlink()
    push_bundle(open_bundle(bundle), f"file://{target}")
    assert verify_bundle(target)


@pytest.mark.parametrize("name", ["thesis.txt", "onnx/thesis.txt", "_tmp/thesis.txt", "notes/thesis.txt"])
def test_a_target_with_other_files_is_left_as_it_is(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with pytest.raises(ConfigError, match=r"push = 'file://.*(thesis\.txt|notes) is"):
        push_bundle(open_bundle(bundle), f"file://{tmp_path}")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["years of work"]


def test_a_link_at_the_target_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pushed").mkdir()
    (tmp_path / "pushed/onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="onnx is a symbolic link"):
        push_bundle(open_bundle(bundle), f"file://{tmp_path}/pushed")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_was_damaged_at_the_target_is_sent_again(bundle: Path, tmp_path: Path) -> None:
    url, source = f"file://{tmp_path}/pushed", open_bundle(bundle)
    push_bundle(source, url)
    damaged = tmp_path / "pushed" / source.manifest.variants["fp32"].file
    damaged.write_bytes(bytes(damaged.stat().st_size))
    push_bundle(source, url)
    assert verify_bundle(tmp_path / "pushed").manifest == source.manifest


def test_a_file_that_changed_after_the_bundle_was_opened_is_not_sent(copy: Path, tmp_path: Path) -> None:
    source = open_bundle(copy)
    (copy / "tokenizer.json").write_text("{}")
    push_bundle(source, f"file://{tmp_path}/pushed")
    assert verify_bundle(tmp_path / "pushed").tokenizer == source.tokenizer
    model = copy / source.manifest.variants["fp32"].file
    model.write_bytes(bytes(model.stat().st_size))
    with pytest.raises(BundleError, match="its sha256 differs"):
        push_bundle(source, f"file://{tmp_path}/again")
    assert not (tmp_path / "again/bundle.json").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "bundle.json"])
def test_a_store_that_keeps_other_bytes_is_noticed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write = Store.write

    def lose_a_byte(store: Store, written: str, data: bytes) -> None:
        write(store, written, data[:-1] + b" " if written == name else data)

    monkeypatch.setattr(Store, "write", lose_a_byte)
    with pytest.raises(ConfigError, match=f"{name} arrived with other bytes"):
        push_bundle(open_bundle(bundle), f"file://{tmp_path}/pushed")
    assert not (tmp_path / "pushed/bundle.json").exists()


class _Hub(BaseHTTPRequestHandler):
    """The calls of https://huggingface.co/.well-known/openapi.json that a push makes, on files in memory."""

    files: dict[str, bytes] = {}
    received: dict[str, Any] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        host = f"http://{self.headers['Host']}"
        answer: dict[str, Any] = {"url": f"{host}/someone/model"}
        if self.path == "/api/repos/create":
            self.received["private"] = json.loads(body)["private"]
        elif "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            answer = {"files": [file | {"shouldIgnore": False} for file in files]}
        elif "/commit/" in self.path:
            header, *changes = [json.loads(line) for line in body.splitlines()]
            self.received["title"] = header["value"]["summary"]
            for change in changes:
                value = change["value"]
                if change["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"]) + self.received.get("added", b"")
                else:
                    del self.files[value["path"]]
            answer = {"commitOid": "1" * 40, "commitUrl": f"{host}/someone/model/commit/1"}
        self._answer(answer)

    def do_GET(self) -> None:
        tree = [
            {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
            for name, data in self.files.items()
        ]
        self._answer(tree if "/tree/" in self.path else {"siblings": [], "sha": "0" * 40, "id": "someone/model"})

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    monkeypatch.setattr(_Hub, "received", {})
    monkeypatch.setattr(_Hub, "files", {".gitattributes": b"*.onnx filter=lfs"})
    yield _Hub
    server.shutdown()


def test_the_hub_gets_the_whole_bundle_in_one_commit_to_a_private_repository(bundle: Path, hub: type[_Hub]) -> None:
    source = open_bundle(bundle)
    hub.files["onnx/stale.onnx"] = b"of an earlier bundle"
    push_bundle(source, "hf://someone/model")
    assert hub.received["private"] is True
    assert hub.received["title"] == f"Bundle {source.manifest.bundle_id}"
    names = [*source.manifest.files, "bundle.json"]
    expected = {name: (bundle / name).read_bytes() for name in names}
    assert hub.files == expected | {".gitattributes": b"*.onnx filter=lfs"}


def test_the_hub_gets_no_file_that_was_put_into_the_directory_later(copy: Path, hub: type[_Hub]) -> None:
    source = open_bundle(copy)
    (copy / "secrets.txt").write_text("password")
    push_bundle(source, "hf://someone/model")
    assert "secrets.txt" not in hub.files


def test_a_repository_with_other_files_is_left_as_it_is(bundle: Path, hub: type[_Hub]) -> None:
    hub.files["model.safetensors"] = b"years of work"
    with pytest.raises(ConfigError, match=r"model\.safetensors is there, which is not part of a bundle"):
        push_bundle(open_bundle(bundle), "hf://someone/model")
    assert hub.files.keys() == {".gitattributes", "model.safetensors"}


def test_a_hub_that_keeps_other_bytes_is_noticed(bundle: Path, hub: type[_Hub]) -> None:
    hub.received["added"] = b" "
    with pytest.raises(ConfigError, match="arrived with other bytes"):
        push_bundle(open_bundle(bundle), "hf://someone/model")


def test_a_name_that_the_hub_does_not_take_is_refused(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="Write hf://OWNER/NAME"):
        push_bundle(open_bundle(bundle), "hf://a/b/c")
