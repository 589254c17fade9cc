"""Runs the PostgreSQL that Debian installs, in a directory of its own, reached by a socket there."""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
NOBODY = 65534
MAX_WAIT_S = 30


@contextmanager
def run_postgres() -> Iterator[Callable[[], str]]:
    """Yield a function that makes an empty database and returns its URL; skip the test where none is installed."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    programs = BINARIES[-1].parent
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short, as the path of a socket must be
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(directory, NOBODY, NOBODY)
        as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    data = directory / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "tests", "--auth=trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([*as_user, *initdb], check=True, **quiet)  # type: ignore[call-overload]
    settings = {"listen_addresses": "", "unix_socket_directories": str(directory), "fsync": "off"}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [*as_user, str(programs / "postgres"), "-D", str(data), *flags]
    process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    try:
        _wait_until_ready(directory)
        yield lambda: _make_database(directory)
    finally:
        process.terminate()  # waits for its clients
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.send_signal(3)  # SIGQUIT: it does not wait
            process.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def _make_database(directory: Path) -> str:
    import psycopg

    name = f"db_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"host={directory} user=tests dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://tests@/{name}?host={directory}"


def _wait_until_ready(directory: Path) -> None:
    import psycopg

    end_s = time.monotonic() + MAX_WAIT_S
    while True:
        try:
            psycopg.connect(f"host={directory} user=tests dbname=postgres").close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < end_s, "PostgreSQL does not start"
            time.sleep(0.05)
