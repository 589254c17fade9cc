"""Lets one run at a time write into an output, and replaces the lock of a run that has died; knows no stage.

1. A run creates `_plan/lock-00001.json`. Only one of several runs can create a file.
2. A run that finds the lock of a dead run creates the next number, `lock-00002.json`, and removes the lower ones.
3. A run holds the lock as long as the file with the highest number names it as the owner.
"""

import json
import os
import posixpath
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.storage import TEMPORARY, Store, open_store

LOCKS = "_plan/lock-"
RENEW_S = 10.0
WRITING_S = 1.0
MAX_NAME_CHARACTERS = 50
"""A lock beside an output has the output's name, cut so that it is not too long for the file system."""
STALE_S = 120.0
"""Seconds without a renewal after which a run on another machine counts as dead."""


@dataclass(frozen=True)
class Lock:
    """A lock of this process: the name of its file, and the random owner that the file names."""

    name: str
    owner: str


@contextmanager
def hold_lock(store: Store, output: str) -> Iterator[Lock]:
    """Hold the lock of an output until the block ends; ConfigError when a live run holds it."""
    held = sorted(_list_locks(store))
    if held:
        _refuse_if_alive(store, held[-1], output)
    number = int(held[-1].removeprefix(LOCKS).removesuffix(".json")) + 1 if held else 1
    lock = Lock(f"{LOCKS}{number:05d}.json", uuid.uuid4().hex)
    if not store.create(lock.name, _content(lock)):
        raise ConfigError(f"output = {output!r}: another run has just begun to write there. Wait until it ends.")
    for name in held:
        store.remove(name)
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(store, lock, stop), daemon=True)
    renewal.start()
    try:
        yield lock
    finally:
        stop.set()
        renewal.join()
        if is_held(store, lock):
            store.remove(lock.name)


@contextmanager
def hold_local_lock(directory: Path, output: Path) -> Iterator[None]:
    """Hold the lock of a local output until the block ends; ConfigError when a live run holds it.

    The lock's files are in `directory`, which belongs to the lock alone and is removed at the end.
    """
    try:
        with hold_lock(open_store(str(directory)), str(output)):
            yield
    finally:
        for path in (directory / posixpath.dirname(LOCKS), directory / TEMPORARY, directory):
            with suppress(OSError):  # a live run's files are in it
                path.rmdir()


def name_lock_beside(output: Path) -> Path:
    """Return the directory of the lock of an output that is replaced as a whole, so that the lock cannot be in it."""
    target = output.resolve()
    return target.with_name(f".{target.name[:MAX_NAME_CHARACTERS]}.lock")


def is_lock_name(name: str) -> bool:
    """Whether a file name in an output is that of a lock."""
    return re.fullmatch(rf"{LOCKS}\d{{5,}}\.json", name) is not None


def is_held(store: Store, lock: Lock) -> bool:
    """Whether the file of the lock still names this owner and no lock has a higher number.

    The second check is needed: a renewal that hangs may write the file again after another run has removed it.
    """
    return max(_list_locks(store), default="") == lock.name and _read(store, lock.name).get("owner") == lock.owner


def refuse_if_taken_over(store: Store, output: str, lock: Lock) -> None:
    """Raise ConfigError when another run has taken the lock."""
    if not is_held(store, lock):
        raise ConfigError(f"output = {output!r} has been taken over by another run, so this run ends.")


def _list_locks(store: Store) -> list[str]:
    return [name for name in store.list("_plan") if is_lock_name(name)]


def _renew(store: Store, lock: Lock, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        with suppress(Exception):  # one failure of the store must not end the renewal
            if not is_held(store, lock):
                return
            store.write(lock.name, _content(lock))


def _refuse_if_alive(store: Store, name: str, output: str) -> None:
    holder = _read(store, name)
    if not holder:  # on a file system without hard links a lock is there for a moment before its content
        time.sleep(WRITING_S)
        holder = _read(store, name)
    if not holder:
        return
    this = _describe_process()
    if all(holder.get(key) == this[key] for key in ("host", "boot", "namespace")):
        if _start_time(holder["pid"]) != holder["started"]:
            return
    elif time.time() - holder["renewed_at"] > STALE_S:
        return
    age_s = max(0, round(time.time() - holder["renewed_at"]))
    raise ConfigError(
        f"output = {output!r} is being written by another run (process {holder['pid']} on {holder['host']}, last seen "
        f"{age_s} s ago). Wait until it ends, or name another output."
    )


def _read(store: Store, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read(name)))
    except (FileNotFoundError, TypeError, ValueError):
        return {}


def _content(lock: Lock) -> bytes:
    return format_json(asdict(lock) | _describe_process() | {"renewed_at": time.time()}).encode()


def _describe_process() -> dict[str, Any]:
    """Return what identifies this process, also among later processes with the same id."""
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": psutil.boot_time(),
        "namespace": os.readlink(namespace) if namespace.exists() else "",
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
    }


def _start_time(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None when it does not run."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
