"""Chooses the directory for the files and sockets of a Ray cluster that is started on this machine. Knows no Ray."""

import logging
import os
import sys
import tempfile

from sentiment_ray import log
from sentiment_ray.errors import ConfigError

MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
LONGEST_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
MAX_DIRECTORY_BYTES = MAX_SOCKET_BYTES - len(LONGEST_SOCKET)
OTHERS = ("/tmp", "/var/tmp", "/dev/shm")


def choose_temporary_directory() -> str | None:
    """Return the directory for a new cluster, or None where the one that Ray chooses by itself will do.

    Ray takes RAY_TMPDIR or TMPDIR and puts its sockets below it, whose paths have a limit of 107 bytes. Batch systems
    often set a longer TMPDIR. Only for RAY_TMPDIR a warning tells that it cannot be used. ConfigError when no directory
    is short enough and can be written.
    """
    named = os.environ.get("RAY_TMPDIR", "")
    given = named or os.environ.get("TMPDIR") or "/tmp"
    if os.path.isabs(given) and _can_hold_sockets(given):
        return None
    if named and _can_hold_sockets(os.path.abspath(named)):  # a relative path
        return os.path.join(os.path.abspath(named), "ray")
    for directory in (os.path.abspath(given), *OTHERS):
        if _can_hold_sockets(directory):
            if named:
                log.notify(
                    f"RAY_TMPDIR = {named!r} cannot hold Ray's sockets: it cannot be written, or its path has more "
                    f"than {MAX_DIRECTORY_BYTES} bytes. Ray's files are in {directory}/ray.",
                    level=logging.WARNING,
                )
            return os.path.join(directory, "ray")
    raise ConfigError(
        f"Ray needs a directory for its sockets that can be written and whose path has at most {MAX_DIRECTORY_BYTES} "
        f"bytes; {given!r} and {', '.join(OTHERS)} will not do. Name one in RAY_TMPDIR."
    )


def _can_hold_sockets(directory: str) -> bool:
    """Whether a directory has a path that is short enough, and takes new files."""
    if len(os.fsencode(directory)) > MAX_DIRECTORY_BYTES:
        return False
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
