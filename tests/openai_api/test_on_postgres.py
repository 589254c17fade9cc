"""Jobs, batches and chats on PostgreSQL: the same tests once more; those of `state` run on both databases always."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.openai_api.conftest import ON_POSTGRES
from tests.openai_api.postgres import BINARIES

FILES = ("ask_models", "fine_tuning", "fine_tuning_requests", "request_batches")


@pytest.mark.slow
@pytest.mark.skipif(not BINARIES, reason="PostgreSQL is not installed (apt-get install postgresql)")
def test_jobs_batches_and_chats_pass_on_postgres() -> None:
    files = [str(Path(__file__).parent / f"test_{name}.py") for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *files]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {ON_POSTGRES: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
