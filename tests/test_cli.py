"""The command as an application engineer types it."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sentiment_ray import Predictor

COMMAND = str(Path(sys.executable).parent / "sentiment-ray")


def _run(*arguments: str, stdin: bytes = b"") -> list[dict[str, object]]:
    done = subprocess.run([COMMAND, *arguments], input=stdin, capture_output=True, check=True)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_predict_prints_one_json_line_for_each_text(bundle: Path, predictor: Predictor) -> None:
    arguments = ("predict", str(bundle), "--engine", "onnxruntime", "--variant", "fp32", "--threads", "2")
    rows = _run(*arguments, "I love this little shop.", "tea")
    expected = predictor.predict(["I love this little shop.", "tea"])
    assert [row["label"] for row in rows] == [prediction.label for prediction in expected]
    assert [row["score"] for row in rows] == pytest.approx([prediction.score for prediction in expected], abs=1e-5)


def test_predict_reads_lines_from_stdin_whatever_their_bytes(bundle: Path) -> None:
    rows = _run("predict", str(bundle), stdin=b"tea\r\n\n\xff\xfe broken\nlast")
    assert [row["text"] for row in rows] == ["tea", "", "\ufffd\ufffd broken", "last"]


def test_inspect_prints_the_manifest(bundle: Path) -> None:
    done = subprocess.run([COMMAND, "inspect", str(bundle)], capture_output=True, check=True)
    assert json.loads(done.stdout) == json.loads((bundle / "bundle.json").read_text())


def test_serve_answers_over_http_and_stops_when_asked(bundle: Path) -> None:
    port = _free_port()
    process = subprocess.Popen([COMMAND, "serve", str(bundle), "--port", str(port)], stderr=subprocess.PIPE)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", b'{"inputs": "tea"}', {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert len(json.load(response)) == 3
    finally:
        process.terminate()
        _, stderr = process.communicate(timeout=20)
    assert b"serving bundle" in stderr
    assert b"Traceback" not in stderr


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the service did not come up: {process.poll()}")
