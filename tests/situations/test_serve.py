"""The service's command with an address, a key or a flag that cannot be used: one line, and it never says `serving`."""

import socket
from pathlib import Path

import pytest

from tests.situations.run_job import CLI, run_job

BUNDLE = str(Path(__file__).parents[1] / "golden/bundle")
SITUATIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "a port that is taken": (("--port", "{taken}"), "port = {taken} on 127.0.0.1 is taken"),
    "a port that is none": (("--port", "65536"), "65536"),
    "a port that is a word": (("--port", "http"), "http"),
    "an unknown host": (
        ("--host", "nowhere.invalid", "--api-key-file", "key"),
        "'nowhere.invalid' is no known address",
    ),
    "a host of another machine": (("--host", "192.0.2.1", "--api-key-file", "key"), "no address of this machine"),
    "every address without a key": (("--host", "0.0.0.0"), "Pass --api-key-file FILE"),
    "a key file that is not there": (("--api-key-file", "gone"), "api_key_file = 'gone' cannot be read"),
    "a key file of PowerShell": (("--api-key-file", "utf16"), "api_key_file = 'utf16' is UTF-16"),
    "an unknown engine": (("--engine", "tpu"), "engine = 'tpu' is unknown"),
    "an unknown variant": (("--variant", "fp8"), "variant = 'fp8' is not in"),
    "no thread at all": (("--threads", "0"), "threads"),
    "an empty key file": (("--api-key-file", "empty"), "api_key_file = 'empty' has an empty first line"),
    "a directory for a key file": (("--api-key-file", "."), "api_key_file = '.' cannot be read"),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_the_service_cannot_use_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key").write_text("sesame")
    Path("utf16").write_text("sesame", encoding="utf-16")
    Path("empty").touch()
    flags, words = SITUATIONS[name]
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        outcome = run_job(CLI, "serve", BUNDLE, *(flag.format(taken=taken) for flag in flags))
    assert outcome.exit_code == 2
    assert outcome.stderr.splitlines() == outcome.error_lines
    assert len(outcome.error_lines) == 1
    assert words.format(taken=taken) in outcome.error_lines[0]
    assert "sesame" not in outcome.stderr
