"""Exports each base model once, as a command that runs in the background, and says when its bundle is there."""

import asyncio
import csv
import hashlib
import io
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sentiment_ray import log
from sentiment_ray.bundle.manifest import MANIFEST_NAME
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.openai_api.api_error import NO_RETRY, ApiError
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.project_root import find_project_root
from sentiment_ray.output_lock import name_lock_beside
from sentiment_ray.pretrained.runs import RUN_NAME

WAIT_LIMIT_S = 60.0
"""How long a request waits for a base model that is being exported; then it is asked to come again."""
RETRY_AFTER_S = 5
POLL_S = 0.1
OTHER_EXPORT_S = 60.0
"""How long another process that exports the same model is waited for; then the export is tried again."""
STOP_LIMIT_S = 5.0
LOG_NAME = "log"


class BaseModels:
    """The bundles of the base models, in `base_models` of the state directory."""

    def __init__(self, config: OpenAiApiConfig, state: Path) -> None:
        self._config = config
        self._state = state
        self._bundles = {model_id: self._name_bundle(model_id) for model_id in config.models}
        self._ready: set[str] = set()
        """The models whose bundle was there once; each request asks."""
        self._failed: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._command: subprocess.Popen[bytes] | None = None

    def find_bundle(self, model_id: str) -> Path:
        """Return where the bundle of a base model is or will be."""
        return self._bundles[model_id]

    def _name_bundle(self, model_id: str) -> Path:
        """Return the directory of a bundle, which depends on all that it is made from."""
        source = self._config.models[model_id]
        made_from = "\0".join((model_id, source, *self._config.labels))
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", model_id)[:40].strip(".")
        name = f"{readable}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
        return self._state / "base_models" / name / "bundle"

    def is_ready(self, model_id: str) -> bool:
        """Whether the bundle of a base model is there."""
        if model_id not in self._ready and (self.find_bundle(model_id) / MANIFEST_NAME).is_file():
            self._ready.add(model_id)
        return model_id in self._ready

    async def wait_until_ready(self, model_id: str) -> None:
        """Wait until a base model can be asked. ApiError when that takes long or its export failed."""
        deadline_s = asyncio.get_running_loop().time() + WAIT_LIMIT_S
        while not self.is_ready(model_id):
            self.start()
            if model_id in self._failed:
                message = f"The base model `{model_id}` could not be exported; the log of the service says why."
                raise ApiError(500, message, param="model", error_type="server_error", headers=NO_RETRY)
            if asyncio.get_running_loop().time() > deadline_s:
                message = f"The base model `{model_id}` is being exported. Ask again in {RETRY_AFTER_S} s."
                headers = {"retry-after": str(RETRY_AFTER_S)}
                raise ApiError(503, message, param="model", error_type="server_error", headers=headers)
            await asyncio.sleep(POLL_S)

    def start(self) -> None:
        """Export what is not there yet, one model after the other, in a thread; it is started once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._export_all, name="base models", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the export that runs; the next service begins it again."""
        self._stopped.set()
        command, thread = self._command, self._thread
        if command is not None and command.poll() is None:
            command.terminate()
        if thread is not None:
            thread.join(STOP_LIMIT_S)

    def _export_all(self) -> None:
        for model_id in self._config.models:
            if self.is_ready(model_id) or self._stopped.is_set():
                continue
            try:
                self._export(model_id)
            except (OSError, SentimentRayError) as error:
                self._fail(model_id, str(error))

    def _export(self, model_id: str) -> None:
        """Export a model; where another process does it, as after a crash of the service, wait for its bundle."""
        bundle = self.find_bundle(model_id)
        bundle.parent.mkdir(parents=True, exist_ok=True)
        while not self._run_command(model_id) and not self.is_ready(model_id) and not self._stopped.is_set():
            if not name_lock_beside(bundle).exists():
                self._fail(model_id, f"see {bundle.parent / LOG_NAME}")
                return
            self._wait_for_other(model_id)

    def _run_command(self, model_id: str) -> bool:
        """Run the command of an export and return whether it succeeded."""
        with (self.find_bundle(model_id).parent / LOG_NAME).open("wb") as output:
            self._command = subprocess.Popen(
                self.make_command(model_id), cwd=find_project_root(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            return self._command.wait() == 0

    def _wait_for_other(self, model_id: str) -> None:
        """Wait until the process that holds the lock of a bundle has ended or written it; if killed, it holds none."""
        lock = name_lock_beside(self.find_bundle(model_id))
        for _ in range(int(OTHER_EXPORT_S / POLL_S)):
            if self._stopped.wait(POLL_S) or self.is_ready(model_id) or not lock.exists():
                return

    def _fail(self, model_id: str, reason: str) -> None:
        log.notify(f"the base model {model_id} could not be exported: {reason}", level=logging.ERROR)
        self._failed.add(model_id)

    def make_command(self, model_id: str) -> list[str]:
        """Return the command that exports a base model: a run as it is, an encoder with the nearest label."""
        source, labels = self._config.models[model_id], self._config.labels
        command = [sys.executable, "-m", "jobs.export_bundle", "--output", str(self.find_bundle(model_id))]
        if (Path(source) / RUN_NAME).is_file():
            return [*command, "--run", str(Path(source).resolve())]
        encoder = str(Path(source).resolve()) if Path(source).is_dir() else source
        return [*command, "--encoder", encoder, "--labels", _join_names(labels), "--variants", "fp32"]


def _join_names(names: Sequence[str]) -> str:
    """Return several names as the value of one flag, with those in double quotes that have a comma."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()
