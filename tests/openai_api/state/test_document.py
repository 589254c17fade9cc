"""Schemathesis makes requests from the OpenAPI document, good and bad ones, and finds no answer that contradicts it."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.openai_api.running import RunningService
from tests.schemathesis_run import run_schemathesis


def _run(service: RunningService, directory: Path, *flags: str) -> int:
    document = f"http://127.0.0.1:{service.port}/openapi.json"
    settings = ROOT / "tests/openai_api/schemathesis.toml"
    return run_schemathesis(document, service.make_key("schemathesis"), settings, directory, *flags)


def test_some_hundred_requests(state_service: RunningService, tmp_path: Path) -> None:
    assert _run(state_service, tmp_path, "--max-examples", "5", "--seed", "1") > 300


@pytest.mark.slow
def test_ten_thousand_requests(state_service: RunningService, tmp_path: Path) -> None:
    assert _run(state_service, tmp_path, "--max-examples", "700", "--phases", "coverage,fuzzing") >= 10_000
