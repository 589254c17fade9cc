"""A small stand-in for the Hugging Face Hub that answers on loopback: one model, its branches and its commits."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Hub:
    """What the Hub holds of one model: the directory of each commit, and the commit of each branch."""

    model: str
    commits: dict[str, Path]
    branches: dict[str, str]
    requests: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Answer requests for a model until the block ends; `hub.url` is what HF_ENDPOINT must be."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.requests.append(self.path)
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            prefix, _, rest = path.partition("/resolve/")
            if prefix == f"/{hub.model}":
                revision, _, name = rest.partition("/")
                commit = hub.branches.get(revision, revision)
                file = hub.commits.get(commit, Path("/nowhere")) / name
                data = file.read_bytes() if file.is_file() else None
                self._send(data, commit, with_body=with_body)
            else:
                revision = path.removeprefix(f"/api/models/{hub.model}").removeprefix("/revision/") or "main"
                commit = hub.branches.get(revision, revision)
                siblings = [{"rfilename": file.name} for file in hub.commits.get(commit, Path("/nowhere")).glob("*")]
                told = {"id": hub.model, "sha": commit, "siblings": siblings}
                self._send(json.dumps(told).encode() if commit in hub.commits else None, commit, with_body=with_body)

        def _send(self, data: bytes | None, commit: str, *, with_body: bool) -> None:
            self.send_response(200 if data is not None else 404)
            if data is None:
                self.send_header("X-Error-Code", "RevisionNotFound")
            body = data or b""
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
