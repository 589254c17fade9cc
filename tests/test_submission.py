"""`ray job submit`, as the README shows it, on a real Ray head with token authentication."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
START_TIMEOUT_S = 45.0
JOB_TIMEOUT_S = 180.0
MAX_PACKAGE_BYTES = 3_000_000
"""More than all code, and the size of each file that must stay behind."""
NOT_UPLOADED = ("data", "runs", ".venv", ".git")
DATA_SUFFIXES = (".parquet", ".safetensors", ".onnx")


@dataclass(frozen=True)
class Head:
    """A running Ray head: its Jobs API, an environment that has its token, and its directory."""

    address: str
    environment: dict[str, str]
    token: str
    directory: Path

    def call(self, method: str, *, token: str | None, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, f"{self.address}/api/jobs/", headers=headers, json=body)

    def packages(self) -> list[Path]:
        """Return the working directories that were uploaded, as the jobs see them."""
        return sorted(self.directory.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head on free loopback ports, separate from every other Ray of this machine."""
    token = secrets.token_hex(32)
    token_file = tmp_path_factory.mktemp("auth") / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    # The path is short because Ray's unix sockets are below it, and their paths may have only 107 bytes.
    directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="r"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_TMPDIR": str(directory),
        "RAY_USAGE_STATS_ENABLED": "0",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        dashboard_port, *ports = free_ports(9)
        with ray_head(dashboard_port, ports, environment, directory) as process:
            started = Head(f"http://127.0.0.1:{dashboard_port}", environment, token, directory)
            wait_until_ready(started, process)
            yield started
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


@contextmanager
def ray_head(
    dashboard_port: int, ports: list[int], environment: dict[str, str], directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ray start --head --block` in a process group of its own, and always end that group."""
    names = (
        "port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
        "metrics-export-port", "ray-client-server-port", "object-manager-port", "node-manager-port",
    )  # fmt: skip
    command = [
        BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard_port}", *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
        "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2", "--num-gpus=0", "--object-store-memory=100000000",
        f"--temp-dir={directory}", "--disable-usage-stats",
    ]  # fmt: skip
    with (directory / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask `ray start` to end its processes, then kill those of the group that are left."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def wait_until_ready(head: Head, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if head.call("GET", token=head.token).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"No Jobs API after {START_TIMEOUT_S:.0f} s:\n{(head.directory / 'head.log').read_text()}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout after some work in it: with data, models and a virtual environment."""
    directory = tmp_path / "checkout"
    left_out = shutil.ignore_patterns(*NOT_UPLOADED, ".venv*", "__pycache__", ".*_cache")
    shutil.copytree(
        ROOT, directory, ignore=lambda folder, names: left_out(folder, names) if Path(folder) == ROOT else set()
    )
    for path in (
        *(f"{folder}/inner/file.bin" for folder in NOT_UPLOADED), "stray.parquet", "models/model.safetensors",
        "sentiment_ray/model.onnx", "jobs/configs/reviews.parquet",
    ):  # fmt: skip
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(secrets.token_bytes(MAX_PACKAGE_BYTES))
    return directory


def submit(head: Head, checkout: Path, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", *entrypoint],
        env=head.environment, cwd=checkout, capture_output=True, text=True, timeout=JOB_TIMEOUT_S, check=False,
    )  # fmt: skip


def write_reviews(path: Path, *, rows: int) -> Path:
    labels = ("negative", "neutral", "positive")
    lines = (json.dumps({"text": f"Review number {row} of a pie.", "label": labels[row % 3]}) for row in range(rows))
    path.write_text("\n".join(lines) + "\n")
    return path


def relative_files(directory: Path) -> dict[str, int]:
    """Return the path and the size in bytes of every file below a directory, without compiled Python."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_jobs_api_requires_the_token(head: Head, method: str, tmp_path: Path) -> None:
    body = {"entrypoint": f"touch {tmp_path / 'broken-in'}"} if method == "POST" else None
    assert head.call(method, token=None, body=body).status_code == httpx.codes.UNAUTHORIZED
    assert head.call(method, token=secrets.token_hex(32), body=body).status_code == httpx.codes.FORBIDDEN
    assert head.call("GET", token=head.token).status_code == httpx.codes.OK


def test_a_submitted_job_runs_the_checkout_and_uploads_no_data(head: Head, checkout: Path, tmp_path: Path) -> None:
    reviews, output = write_reviews(tmp_path / "reviews.jsonl", rows=300), tmp_path / "prepared"
    done = submit(
        head, checkout, "python", "-m", "jobs.prepare_reviews", "--input", str(reviews), "--text-column", "text",
        "--label-column", "label", "--output", str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    assert (result["output"], result["counts"]["rows_in"]) == (str(output), 300)
    assert json.loads((output / "prepared.json").read_text())["counts"] == result["counts"]

    (package,) = head.packages()
    uploaded = relative_files(package)
    for folder in ("sentiment_ray", "export", "jobs"):
        assert {f"{folder}/{name}" for name in relative_files(ROOT / folder)} - uploaded.keys() == set()
    assert [path for path in uploaded if path.partition("/")[0] in NOT_UPLOADED or path.endswith(DATA_SUFFIXES)] == []
    assert sum(uploaded.values()) < MAX_PACKAGE_BYTES
