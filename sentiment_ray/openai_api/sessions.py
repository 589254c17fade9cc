"""Finds and ends the processes of a session: a command, all that it has started, and nothing else.

A session has the process id of its first process. Processes that have left the session are found by a variable of
their environment.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

VARIABLE = "SENTIMENT_RAY_ATTEMPT"
"""Variable of the environment that names the attempt to which a process belongs."""
LOOK_AGAIN_S = 0.1
KILL_S = 10.0
"""How long processes may take to disappear after SIGKILL."""


@dataclass(frozen=True)
class ProcessIdentity:
    """What tells a process from later ones with the same id: the machine's start and the process's own."""

    pid: int
    started: str
    machine: str


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process; None when it does not run or has ended and waits for its parent."""
    started = _read_start(pid)
    return ProcessIdentity(pid, started, identify_machine()) if started else None


def is_alive(process: ProcessIdentity) -> bool:
    """Whether this very process runs on this machine."""
    return identify(process.pid) == process


def is_here(process: ProcessIdentity) -> bool:
    """Whether a process ran on this machine since the machine's last start."""
    return process.machine == identify_machine()


def end_session(process: ProcessIdentity | None, attempt_id: str, *, grace_s: float) -> None:
    """End all processes of an attempt on this machine: SIGTERM, and SIGKILL for those that still run after `grace_s`.

    `process` was the first process of the session. It may have ended long ago. This process itself is spared.
    """
    for number, seconds in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
        end, sent_to = time.monotonic() + seconds, set[int]()
        while (pids := set(list_session(process, attempt_id))) and time.monotonic() < end:
            for pid in pids - sent_to:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            sent_to |= pids
            time.sleep(LOOK_AGAIN_S)


def list_session(process: ProcessIdentity | None, attempt_id: str) -> list[int]:
    """Return the processes of an attempt that run on this machine, without this process."""
    session = process.pid if process and is_here(process) and _may_be_session(process) else None
    mark = f"{VARIABLE}={attempt_id}".encode()
    return [pid for pid in psutil.pids() if pid != os.getpid() and _belongs(pid, session, mark)]


def _may_be_session(process: ProcessIdentity) -> bool:
    """Whether the session is that of the process: nobody has its id now, or itself."""
    now = identify(process.pid)
    return now is None or now == process


def _belongs(pid: int, session: int | None, mark: bytes) -> bool:
    try:
        is_member = session is not None and os.getsid(pid) == session
        is_marked = is_member or mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to somebody else, or this system has no /proc
        return False
    return is_marked and _read_start(pid) is not None


def _read_start(pid: int) -> str | None:
    """Return when a process started, in clock ticks since the machine's start; None when it does not run.

    psutil gives seconds since 1970, which shift when the clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _ask_for_start(pid)
    except ProcessLookupError:
        return None


def _ask_for_start(pid: int) -> str | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    return None


def identify_machine() -> str:
    """Return what differs between machines, between two starts of one, and between containers."""
    parts = [os.uname().nodename]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
