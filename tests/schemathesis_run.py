"""Runs Schemathesis, with all its checks, on a service that answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def run_schemathesis(document: str, key: str | None, settings: Path, directory: Path, *flags: str) -> int:
    """Run all checks on an OpenAPI document at a URL; return how many requests passed, or fail with the report."""
    header = ["--header", f"Authorization: Bearer {key}"] if key else []
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(settings)]
    command = [*program, "run", document, *header, *flags, "--no-color"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment)
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert done.returncode == 0 and found and found[1] == found[2], done.stdout[-20_000:] + done.stderr
    return int(found[2])
