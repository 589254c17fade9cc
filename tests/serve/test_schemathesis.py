"""Schemathesis makes requests from the OpenAPI document, good and bad ones, and finds no answer that contradicts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import RunningService

ROOT = Path(__file__).parents[2]


def _run(service: RunningService, directory: Path, *flags: str) -> int:
    """Run all checks of Schemathesis on a service; return how many requests passed, or fail with its report."""
    settings = ["--config-file", str(ROOT / "tests/serve/schemathesis.toml")]
    document = f"{service.url}/api-doc/openapi.json"
    header = ["--header", f"Authorization: Bearer {service.key}"] if service.key else []
    command = [str(Path(sys.executable).parent / "schemathesis"), *settings, "run", document, *header, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--no-color"], capture_output=True, text=True, cwd=directory, env=environment)
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert done.returncode == 0 and found and found[1] == found[2], done.stdout[-20_000:] + done.stderr
    return int(found[2])


def test_a_thousand_requests(locked_service: RunningService, tmp_path: Path) -> None:
    assert _run(locked_service, tmp_path, "--max-examples", "8", "--seed", "1") > 500


@pytest.mark.slow
def test_ten_thousand_requests(open_service: RunningService, tmp_path: Path) -> None:
    assert _run(open_service, tmp_path, "--max-examples", "1500", "--phases", "coverage,fuzzing") >= 10_000
