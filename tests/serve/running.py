"""The service in a process of its own, as an operator runs it, and copies of a small bundle for it."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.manifest import FileEntry, compute_bundle_id
from sentiment_ray.text.truncation import HEAD

COMMAND = str(Path(sys.executable).parent / "sentiment-ray")
MAX_WAIT_S = 20
GOLDEN = Path(__file__).parents[1] / "golden/bundle"


@dataclass
class Running:
    """A service that answers; `log` has the lines of its stderr so far."""

    process: subprocess.Popen[bytes]
    port: int = 0
    log: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> "Answer":
        connection = self.connect()
        try:
            if isinstance(body, dict):
                body = json.dumps(body)
            given = {"content-type": "application/json", **self.headers, **(headers or {})}
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def wait_for_line(self, text: str) -> None:
        """Wait until a line of the log holds a text; an answer may be here before its line."""
        deadline_s = time.monotonic() + 10
        while not any(text in line for line in self.log):
            assert time.monotonic() < deadline_s, f"no line holds {text!r}"
            time.sleep(0.01)

    def read_metrics(self) -> dict[str, float]:
        """Return every count by its name and labels, as Prometheus's own client reads it."""
        from prometheus_client.parser import text_string_to_metric_families

        answer = self.ask("GET", "/metrics")
        assert answer.status == 200
        found = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error, which has the form of text-embeddings-inference."""
        assert set(self.json) == {"error", "error_type"}
        return str(self.json["error"])


@contextmanager
def run(bundle: Path, *flags: str, headers: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Yield a service on a free port, and end it with SIGTERM."""
    command = [COMMAND, "serve", str(bundle), "--port", "0", "--drain-pause-s", "0", "--engine", "onnxruntime", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    service = Running(process, headers=headers or {})
    is_ready = threading.Event()

    def read() -> None:
        assert process.stderr
        for line in process.stderr:
            service.log.append(line.decode())
            if found := re.search(rb"serving bundle .* on http://[^ ]*:(\d+)/predict", line):
                service.port = int(found[1])
                is_ready.set()
        is_ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert is_ready.wait(timeout=60)
        assert service.port, service.log
        yield service
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            reader.join()


def copy_bundle(directory: Path, *, labels: tuple[str, ...] | None = None, max_tokens: int | None = None) -> str:
    """Write the small bundle with other labels or another number of tokens to a directory, and return its id."""
    shutil.copytree(GOLDEN, directory, dirs_exist_ok=True)
    manifest = json.loads((directory / "bundle.json").read_text())
    manifest["max_tokens"] = max_tokens or manifest["max_tokens"]
    if labels:
        config = json.loads((directory / "config.json").read_text())
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
        content = json.dumps(config).encode()
        (directory / "config.json").write_bytes(content)
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["files"]["config.json"] = entry
        manifest["labels"], manifest["self_test"] = labels, None
    manifest["bundle_id"] = compute_bundle_id(
        {name: FileEntry(**entry) for name, entry in manifest["files"].items()},
        tuple(manifest["labels"]),
        manifest["max_tokens"],
        tuple(manifest["steps"]),
        HEAD,
    )
    (directory / "bundle.json").write_text(json.dumps(manifest))
    return str(manifest["bundle_id"])


def wait_until(check: Callable[[], object], what: str) -> None:
    """Wait until a check is true; an AssertionError says what is not, after a while."""
    end_s = time.monotonic() + MAX_WAIT_S
    while not check():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)
