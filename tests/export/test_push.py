"""A finished bundle arrives whole where it is pushed to: on an object store, and on a server that speaks as the Hub."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from export.push import push_bundle
from sentiment_ray.bundle.open import open_bundle, verify_bundle
from sentiment_ray.errors import ConfigError
from sentiment_ray.storage import local_copy, open_store


def test_a_bundle_comes_back_from_an_object_store_as_it_was(bundle: Path, s3: str) -> None:
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


def test_a_bundle_on_a_disk_is_whole_and_may_carry_what_the_hub_adds(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "pushed"
    push_bundle(open_bundle(bundle), f"file://{target}")
    assert verify_bundle(target).manifest == open_bundle(bundle).manifest
    (target / ".gitattributes").write_text("*.onnx filter=lfs")
    (target / ".cache/huggingface").mkdir(parents=True)
    assert verify_bundle(target)
    (target / "tokenizer.json").unlink()
    push_bundle(open_bundle(bundle), f"file://{tmp_path}/again")
    (tmp_path / "again/tokenizer.json").unlink()
    push_bundle(open_bundle(bundle), f"file://{tmp_path}/again")
    assert verify_bundle(tmp_path / "again")


def test_what_is_no_bundle_is_not_written_over(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.txt is there, which is no file of a bundle"):
        push_bundle(open_bundle(bundle), f"file://{tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class _Hub(BaseHTTPRequestHandler):
    """The calls of https://huggingface.co/.well-known/openapi.json that a first push makes, and what they carried."""

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
            self.received["files"] = {
                change["value"]["path"]: base64.b64decode(change["value"]["content"])
                for change in changes
                if change["key"] == "file"
            }
            answer = {"commitOid": "1" * 40, "commitUrl": f"{host}/someone/model/commit/1"}
        self._answer(answer)

    def do_GET(self) -> None:
        self._answer([] if "/tree/" in self.path else {"siblings": [], "sha": "0" * 40, "id": "someone/model"})

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
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_nothing")
    monkeypatch.setattr(_Hub, "received", {})
    yield _Hub.received
    server.shutdown()


def test_the_hub_gets_the_whole_bundle_in_one_commit_to_a_private_repository(bundle: Path, hub: dict[str, Any]) -> None:
    source = open_bundle(bundle)
    push_bundle(source, "hf://someone/model")
    assert hub["private"] is True
    assert hub["title"] == f"Bundle {source.manifest.bundle_id}"
    names = [*source.manifest.files, "bundle.json"]
    assert hub["files"] == {name: (bundle / name).read_bytes() for name in names}


def test_a_name_that_the_hub_does_not_take_is_told(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="Write hf://OWNER/NAME"):
        push_bundle(open_bundle(bundle), "hf://a/b/c")
