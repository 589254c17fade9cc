"""The command as an application engineer types it, on a bundle that an earlier release wrote; needs no Ray."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sentiment_ray import Predictor

COMMAND = str(Path(sys.executable).parent / "sentiment-ray")
GOLDEN = Path(__file__).parent / "golden"
BUNDLE = GOLDEN / "bundle"
TOLERANCES = {"fp32": 1e-4, "int8_weights": 1e-2}
"""Largest difference of a probability from the recorded one; OpenVINO may compute in bf16."""


def _run(*arguments: str, stdin: bytes = b"") -> list[dict[str, object]]:
    done = subprocess.run([COMMAND, *arguments], input=stdin, capture_output=True, check=True)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_predict_prints_one_json_line_for_each_text() -> None:
    arguments = ("predict", str(BUNDLE), "--engine", "onnxruntime", "--variant", "fp32", "--threads", "2")
    rows = _run(*arguments, "I love this little shop.", "tea")
    predictor = Predictor.load(BUNDLE, engine="onnxruntime", variant="fp32", threads=2)
    expected = predictor.predict(["I love this little shop.", "tea"])
    assert [row["label"] for row in rows] == [prediction.label for prediction in expected]
    assert [row["score"] for row in rows] == pytest.approx([prediction.score for prediction in expected], abs=1e-5)


def test_predict_reads_lines_of_any_bytes_from_stdin() -> None:
    rows = _run("predict", str(BUNDLE), stdin=b"\xef\xbb\xbftea\r\n\n\xff\xfe broken\nlast")
    assert [row["text"] for row in rows] == ["tea", "", "\ufffd\ufffd broken", "last"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("variant", ["fp32", "int8_weights"])
def test_a_bundle_of_an_earlier_release_gives_the_scores_that_it_gave(engine: str, variant: str) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
    predictor = Predictor.load(BUNDLE, engine=engine, variant=variant, threads=1)
    scores = predictor.score(expected["texts"])
    tolerance = TOLERANCES[variant] if engine == "onnxruntime" else 2e-2
    assert scores.probabilities.tolist() == [pytest.approx(row, abs=tolerance) for row in expected["probabilities"]]


def test_a_prediction_forks_no_process_and_reports_to_nobody() -> None:
    code = (
        "import os, sys, sentiment_ray\n"
        "os.register_at_fork(before=lambda: print('forked'))\n"
        f"sentiment_ray.Predictor.load({str(BUNDLE)!r}, engine='openvino').predict(['tea'])\n"
        "print(*(name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_verify_checks_every_file_of_a_bundle(tmp_path: Path) -> None:
    files = json.loads((BUNDLE / "bundle.json").read_text())["files"]
    assert _run("verify", str(BUNDLE)) == [{"bundle": str(BUNDLE), "verified": True, "files": len(files)}]
    damaged = shutil.copytree(BUNDLE, tmp_path / "bundle")
    with (damaged / "tokenizer.json").open("a") as file:
        file.write(" ")
    done = subprocess.run([COMMAND, "verify", str(damaged)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "tokenizer.json" in done.stderr


def test_inspect_prints_the_manifest() -> None:
    done = subprocess.run([COMMAND, "inspect", str(BUNDLE)], capture_output=True, check=True)
    assert json.loads(done.stdout) == json.loads((BUNDLE / "bundle.json").read_text())


def test_bench_measures_every_file_and_engine_that_passed() -> None:
    command = [
        COMMAND,
        "bench",
        str(BUNDLE),
        "--batch",
        "1,4",
        "--tokens",
        "8,999",
        "--threads",
        "1",
        "--seconds",
        "0.01",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    variants = json.loads((BUNDLE / "bundle.json").read_text())["variants"]
    passed = {
        (name, kind) for name, variant in variants.items() for kind, gate in variant["gate"].items() if gate["passed"]
    }
    assert {(row["variant"], row["engine"]) for row in rows} == passed
    assert len(rows) == len(passed) * 2 * 2
    assert {row["tokens"] for row in rows} == {8, 32}, "no text is longer than the bundle reads"
    for row in rows:
        assert row["p50_ms"] <= row["p99_ms"]
        assert row["rows_per_s"] > 0
        assert 0 < row["share_of_peak"] < 1
    assert done.stderr.count("\n") == len(rows) + 1, "a table for the eye"


@pytest.mark.parametrize("value", ["0", "a", "1,,2"])
def test_bench_refuses_a_value_that_is_not_a_positive_number(value: str) -> None:
    done = subprocess.run([COMMAND, "bench", str(BUNDLE), "--batch", value], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--batch = '{value}'" in done.stderr


def test_doctor_describes_the_machine_and_what_auto_loads() -> None:
    done = subprocess.run([COMMAND, "doctor", str(BUNDLE)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["cores"] >= 1
    assert set(found["engines"]) == {"openvino", "onnxruntime"}
    assert "CPUExecutionProvider" in found["engines"]["onnxruntime"]["providers"]
    loaded = Predictor.load(BUNDLE)
    assert found["bundle"]["auto"] == {"engine": loaded.engine, "variant": loaded.variant}
    assert found["bundle"]["tried"][0]["note"] == "its self-test passed here"


def test_serve_answers_over_http_and_stops_when_asked() -> None:
    port = _free_port()
    command = [COMMAND, "serve", str(BUNDLE), "--port", str(port), "--drain-pause-s", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
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
    assert process.returncode == 0
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
