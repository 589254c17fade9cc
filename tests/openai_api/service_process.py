"""The service as a process of its own, which can be killed and started again on the same state."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import openai
import psutil
import tomli_w

from sentiment_ray.openai_api.attempt_process import read_process
from tests.openai_api.running import MODEL

CLI = (sys.executable, "-c", "from sentiment_ray.cli import main; main()", "openai-api")
START_LIMIT_S = 60
BOUNDS = {"max_tokens": 32}


class ServiceProcess:
    """A service on a fixed port; `kill` and `start` take turns."""

    def __init__(self, directory: Path, encoder: Path, port: int, **environment: str) -> None:
        self.state, self.port = directory / "state", port
        self._config = directory / "openai_api.toml"
        self._log = directory / "log"
        self._environment = os.environ | environment
        section = {"state": str(self.state), "models": {MODEL: str(encoder)}, "port": port, **BOUNDS}
        self._config.write_text(tomli_w.dumps({"openai_api": section}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service and wait until it answers."""
        command = [*CLI, "serve", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        end = time.monotonic() + START_LIMIT_S
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the service as a crash would."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End the service as an operator does."""
        assert self._process
        self._process.terminate()
        assert self._process.wait(60) == 0, self._log.read_text()[-3000:]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the service, and end it at the end of the block."""
        self.start()
        try:
            yield
        finally:
            self.end()

    def make_client(self) -> openai.OpenAI:
        """Return a client with a new key, which asks again when the service is away."""
        command = [*CLI, "keys", "create", "--state", str(self.state)]
        key = subprocess.run([*command, "--project", "shop"], check=True, capture_output=True, text=True).stdout.strip()
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=8, timeout=60)

    def kill_part(self, directory: Path, part: str) -> bool:
        """Kill a part of the newest attempt below a job's directory; return whether it ran."""
        attempts = sorted(directory.glob("attempts/*/process.json"), key=lambda path: int(path.parent.name))
        process = read_process(attempts[-1].parent) if attempts else None
        if process is None:
            return False
        pid = process.pid if part == "wrapper" else _find_child(process.pid)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False


def _find_child(pid: int) -> int | None:
    """The command that a wrapper runs."""
    with suppress(psutil.NoSuchProcess):
        return next((child.pid for child in psutil.Process(pid).children()), None)
    return None
