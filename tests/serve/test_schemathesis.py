"""Schemathesis makes requests from the OpenAPI document, good and bad ones, and finds no answer that contradicts it."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.schemathesis_run import run_schemathesis
from tests.serve.conftest import RunningService


def _run(service: RunningService, directory: Path, *flags: str) -> int:
    document = f"{service.url}/api-doc/openapi.json"
    return run_schemathesis(document, service.key, ROOT / "tests/serve/schemathesis.toml", directory, *flags)


def test_a_thousand_requests(locked_service: RunningService, tmp_path: Path) -> None:
    assert _run(locked_service, tmp_path, "--max-examples", "8", "--seed", "1") > 500


@pytest.mark.slow
def test_ten_thousand_requests(open_service: RunningService, tmp_path: Path) -> None:
    assert _run(open_service, tmp_path, "--max-examples", "1500", "--phases", "coverage,fuzzing") >= 10_000
