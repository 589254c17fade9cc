"""Runs the command of an attempt and writes its exit code: `python -m sentiment_ray.openai_api.attempt_process DIR`.

The process outlives the service that started it. Whoever finds the directory later knows the attempt by its files:

    command.json    the command, its directory and its environment; written before the process starts
    process.json    the process; only one can write it, so a command runs at most once
    log             what the command wrote to stdout and stderr
    exit_code       how the command ended; missing while it runs, and for ever when this process was killed
"""

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from sentiment_ray.atomic_files import place_new_file, write_file
from sentiment_ray.manifest import format_json
from sentiment_ray.openai_api.sessions import VARIABLE, ProcessIdentity, end_session, identify

COMMAND_NAME, PROCESS_NAME, EXIT_CODE_NAME, LOG_NAME = "command.json", "process.json", "exit_code", "log"
GRACE_S = 5.0
"""How long a command may take to end after SIGTERM."""


def claim_attempt(directory: Path, process: ProcessIdentity | None) -> bool:
    """Write process.json unless it is there; return whether this call wrote it. None forbids the attempt for ever."""
    temporary = directory / f".{PROCESS_NAME}.{uuid.uuid4().hex[:8]}"
    temporary.write_text(format_json(asdict(process) if process else {}), encoding="utf-8")
    try:
        place_new_file(temporary, directory / PROCESS_NAME)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def read_process(directory: Path) -> ProcessIdentity | None:
    """Return the process of an attempt; None when it has not started or never will."""
    try:
        values = json.loads((directory / PROCESS_NAME).read_bytes())
        return ProcessIdentity(**values) if values else None
    except FileNotFoundError:
        return None


def read_exit_code(directory: Path) -> int | None:
    """Return how a command ended, as a shell has it: 128 and more for a signal; None while it has not."""
    try:
        return int((directory / EXIT_CODE_NAME).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def main() -> None:
    """Run the attempt in the directory that is the only argument, unless another process has begun it."""
    directory = Path(sys.argv[1])
    process = identify(os.getpid())
    if process is None or not claim_attempt(directory, process):
        return
    command = json.loads((directory / COMMAND_NAME).read_bytes())
    exit_code = _run(command, directory)
    end_session(process, command["attempt"], grace_s=GRACE_S)
    write_file(directory / EXIT_CODE_NAME, str(exit_code).encode())


def _run(command: dict[str, Any], directory: Path) -> int:
    environment = os.environ | command["environment"] | {VARIABLE: command["attempt"]}
    with (directory / LOG_NAME).open("ab") as log:
        child = subprocess.Popen(
            command["command"],
            cwd=command["directory"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def forward(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    main()
