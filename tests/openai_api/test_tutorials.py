"""The tutorial in Node and in Python: uploads 66 examples, fine-tunes, and asks base and tuned, on the real service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.openai_api.running import MODEL, run_service

TUTORIAL = ROOT / "examples/openai_client"
COMMANDS = {"node": ["node", "tutorial.mjs"], "python": [sys.executable, "tutorial.py"]}
LABELS = {"Positive", "Neutral", "Negative"}
LIMIT_S = 240


@pytest.mark.parametrize("language", ["node", pytest.param("python", marks=pytest.mark.slow)])
def test_the_tutorial_runs(language: str, tmp_path: Path, tiny_encoder: Path) -> None:
    if language == "node" and not (TUTORIAL / "node_modules").is_dir():
        pytest.fail(f"{TUTORIAL}/node_modules is missing. Run `make test`, or npm ci there.")
    assert shutil.which("node") or language == "python", "Node is not installed."
    with run_service(tmp_path / "state", models={MODEL: str(tiny_encoder)}, max_tokens=32) as running:
        variables = os.environ | {"OPENAI_BASE_URL": running.url, "OPENAI_API_KEY": running.key}
        command = [*COMMANDS[language], "sentiment.jsonl"]
        done = subprocess.run(
            command, cwd=TUTORIAL, env=variables, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    lines = done.stdout.splitlines()
    events = [
        "Created fine-tuning job: ",
        "Validating training file: ",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        "Step 1/",
        f"New fine-tuned model created: ft:{MODEL}:local:sentiment:",
    ]
    numbers = [next(number for number, line in enumerate(lines) if line.startswith(event)) for event in events]
    assert numbers == sorted(numbers)
    answers = [line.split(":")[1].strip() for line in lines if line.startswith(("  base:", "  tuned:"))]
    assert len(answers) == 6
    assert set(answers) <= LABELS, "ten times the same word"
