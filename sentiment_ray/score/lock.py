"""Lets one run at a time write into an output, and takes the lock of a run that has died; knows nothing of scores.

A lock is a file `_plan/lock-00001.json` that only one run can create. Who finds a lock whose run is dead creates the
next number, which again only one can, and removes the lower ones. A run holds its lock as long as the file with its
number names it.
"""

import json
import os
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
from sentiment_ray.storage import Store

LOCKS = "_plan/lock-"
RENEW_S = 10.0
STALE_S = 120.0
"""Seconds without renewal after which a run on another machine counts as dead."""


@dataclass(frozen=True)
class Lock:
    """A lock that this process was given: the name of its file and who it says holds it."""

    name: str
    owner: str


@contextmanager
def locked(store: Store, output: str) -> Iterator[Lock]:
    """Hold the lock of an output; ConfigError when another run that is alive holds it."""
    held = sorted(name for name in store.list("_plan") if name.startswith(LOCKS))
    if held:
        _refuse_if_alive(store, held[-1], output)
    number = int(held[-1].removeprefix(LOCKS).removesuffix(".json")) + 1 if held else 1
    lock = Lock(f"{LOCKS}{number:05d}.json", uuid.uuid4().hex)
    if not store.create(lock.name, _content(lock)):
        raise ConfigError(f"output = {output!r}: another run has just begun to write there. Wait for it to end.")
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


def is_lock(name: str) -> bool:
    """Whether a file of an output is a lock."""
    return re.fullmatch(rf"{LOCKS}\d{{5,}}\.json", name) is not None


def is_held(store: Store, lock: Lock) -> bool:
    """Whether the lock's file is still there and names this owner, and no other has a higher number.

    A renewal that hangs may bring the file back after another run has taken the lock and removed it.
    """
    store.fs.invalidate_cache()
    held = [str(path).rpartition("/")[2] for path in store.fs.glob(store.path(f"{LOCKS}*.json"))]
    is_newest = max(held, default="") == lock.name.rpartition("/")[2]
    return is_newest and _read(store, lock.name).get("owner") == lock.owner


def refuse_if_taken_over(store: Store, output: str, lock: Lock) -> None:
    """ConfigError when another run has taken the lock."""
    if not is_held(store, lock):
        raise ConfigError(f"output = {output!r} was taken over by another run, so this one ends.")


def _renew(store: Store, lock: Lock, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        with suppress(Exception):  # a store that fails once must not end the renewal, and with it the run's claim
            if not is_held(store, lock):
                return
            store.write(lock.name, _content(lock))


def _refuse_if_alive(store: Store, name: str, output: str) -> None:
    found = _read(store, name)
    if not found:
        return
    here = _process()
    if all(found.get(key) == here[key] for key in ("host", "boot", "namespace")):
        if _started(found["pid"]) != found["started"]:
            return
    elif time.time() - found["renewed_at"] > STALE_S:
        return
    age_s = max(0, round(time.time() - found["renewed_at"]))
    raise ConfigError(
        f"output = {output!r} is being written by another run (process {found['pid']} on {found['host']}, last seen "
        f"{age_s} s ago). Wait for it to end, or name another output."
    )


def _read(store: Store, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read(name)))
    except (FileNotFoundError, ValueError):
        return {}


def _content(lock: Lock) -> bytes:
    return json.dumps(asdict(lock) | _process() | {"renewed_at": time.time()}).encode()


def _process() -> dict[str, Any]:
    """Return what tells this process from every other, also from later ones with its number."""
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": psutil.boot_time(),
        "namespace": os.readlink(namespace) if namespace.exists() else "",
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _started(pid: int) -> float | None:
    """Return when a process was started, in seconds since 1970; None when there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
