"""Schemathesis makes requests from the OpenAPI document, good and bad ones, and finds no answer that contradicts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.openai_api.running import RunningService

ROOT = Path(__file__).parents[3]


def _run(service: RunningService, directory: Path, *flags: str) -> int:
    """Run all checks of Schemathesis on a service; return how many requests passed, or fail with its report."""
    settings = ["--config-file", str(ROOT / "tests/openai_api/schemathesis.toml")]
    document = f"http://127.0.0.1:{service.port}/openapi.json"
    header = ["--header", f"Authorization: Bearer {service.make_key('schemathesis')}"]
    command = [str(Path(sys.executable).parent / "schemathesis"), *settings, "run", document, *header, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--no-color"], capture_output=True, text=True, cwd=directory, env=environment)
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert done.returncode == 0 and found and found[1] == found[2], done.stdout[-20_000:] + done.stderr
    return int(found[2])


def test_some_hundred_requests(state_service: RunningService, tmp_path: Path) -> None:
    assert _run(state_service, tmp_path, "--max-examples", "5", "--seed", "1") > 300


@pytest.mark.slow
def test_ten_thousand_requests(state_service: RunningService, tmp_path: Path) -> None:
    assert _run(state_service, tmp_path, "--max-examples", "700", "--phases", "coverage,fuzzing") >= 10_000
