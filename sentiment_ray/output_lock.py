"""Lets one run at a time write into an output, and replaces the lock of a run that has died; knows no stage.

1. A run creates `_plan/lock-00001.json`. Only one of several runs can create a file.
2. A run that finds the lock of a dead or ended run creates the next number, `lock-00002.json`. Then it looks: if there
   is a higher number meanwhile, it removes its own and begins again. Otherwise it removes the lower ones.
3. A run holds the lock as long as the file with the highest number names it as the owner. It writes this file again
   every 10 seconds, and no other file of a lock, so that a write that hangs can harm no other run.
4. At its end a run marks its lock as released and leaves it there. So no number is ever used twice.

A run on the same machine is dead when its process is. A run elsewhere is dead when its lock has not changed for 120
seconds, measured by the clock of the run that waits. Clocks of two machines are never compared.
"""

import json
import os
import posixpath
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sentiment_ray import log
from sentiment_ray.errors import ConfigError, StorageError
from sentiment_ray.manifest import format_json
from sentiment_ray.storage import TEMPORARY, Store, open_store

LOCKS = "_plan/lock-"
RENEW_S = 10.0
LOOK_AGAIN_S = 5.0
"""Seconds between two looks at the lock of another run."""
STALE_S = 120.0
"""Seconds without a change after which a run on another machine counts as dead."""
SETTLE_S = 60.0
"""Seconds after which a request that a dead process has sent has arrived or never will."""
MAX_NAME_CHARACTERS = 50
"""A lock beside an output has the output's name, cut so that it is not too long for the file system."""


@dataclass(frozen=True)
class Lock:
    """A lock of this process: the name of its file, and the random owner that the file names."""

    name: str
    owner: str
    follows_release: bool = True
    """Whether the run before ended by itself, or there was none. Otherwise its last writes may still be under way."""
    purpose: str = ""
    """What the run does: two runs with the same purpose write the same files."""


@contextmanager
def hold_lock(
    store: Store, output: str, *, wait: bool = False, keep_number: bool = True, purpose: str = ""
) -> Iterator[Lock]:
    """Hold the lock of an output until the block ends; `purpose` is that of the `Lock`.

    While a live run holds it, wait and say for whom, or raise ConfigError unless `wait`. Without `keep_number` the
    file of the lock is removed at the end, for a directory that belongs to the lock alone.
    """
    lock = _take(store, output, wait=wait, purpose=purpose)
    with _keep(store, lock, keep_number):
        yield lock


@contextmanager
def hold_next_number(store: Store, output: str, lock: Lock) -> Iterator[Lock]:
    """Hold the next number until the block ends, so that processes that know only the present one are locked out.

    ConfigError when another run has taken the output.
    """
    refuse_if_taken_over(store, output, lock)
    taken = _create_next(store, lock.name, follows_release=True, purpose=lock.purpose)
    if taken is None:
        raise ConfigError(f"output = {output!r} has been taken over by another run, so this run ends.")
    with _keep(store, taken, keep_number=True):
        yield taken


def settle(store: Store) -> None:
    """Wait until what dead processes have sent has arrived, and say so."""
    log.notify(f"A run or a worker has died. Waiting {SETTLE_S:g} s until what it has sent has arrived.")
    store.clock.sleep(SETTLE_S)


@contextmanager
def _keep(store: Store, lock: Lock, keep_number: bool) -> Iterator[None]:
    """Renew a lock until the block ends, and release it then."""
    store = Store(store.fs, store.root, store.clock, store.max_parallel)  # a lock is changed by itself

    def renew() -> bool:
        with suppress(Exception):  # one failure of the store must not end the renewal
            if not is_held(store, lock):
                return False
            store.write(lock.name, _content(store, lock))
        return True

    end_renewal = store.clock.repeat(renew, RENEW_S)
    try:
        yield
    finally:
        end_renewal()
        with suppress(StorageError, OSError):  # the lock of a dead process is known as such
            if is_held(store, lock):
                if keep_number:
                    store.write(lock.name, _content(store, lock, released=True))
                else:
                    store.remove(lock.name)


@contextmanager
def hold_local_lock(directory: Path, output: Path) -> Iterator[None]:
    """Hold the lock of a local output until the block ends; ConfigError when a live run holds it.

    The lock's files are in `directory`, which belongs to the lock alone and is removed at the end.
    """
    try:
        with hold_lock(open_store(str(directory)), str(output), keep_number=False):
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
    """Whether the file of the lock names this owner and no lock has a higher number."""
    if _find_highest(store) != lock.name:
        return False
    content = _read(store, lock.name)
    return content.get("owner") == lock.owner and not content.get("released")


def refuse_if_taken_over(store: Store, output: str, lock: Lock) -> None:
    """Raise ConfigError when another run has taken the lock, StorageError when this machine sees no lock."""
    if is_held(store, lock):
        return
    if not _list_locks(store):
        raise StorageError(
            f"output = {output!r} holds no lock where {socket.gethostname()} looks for it. Mount the same directory on "
            "every node, or remove nothing from the output while a run writes there. Then run the same command again."
        )
    raise ConfigError(f"output = {output!r} has been taken over by another run, so this run ends.")


def _list_locks(store: Store) -> list[str]:
    return sorted((name for name in store.list("_plan") if is_lock_name(name)), key=_read_number)


def read_highest_lock(store: Store) -> dict[str, Any]:
    """Return what the lock with the highest number says; nothing where there is none."""
    highest = _find_highest(store)
    return _read(store, highest) if highest else {}


def _find_highest(store: Store) -> str:
    return next(reversed(_list_locks(store)), "")


def _read_number(name: str) -> int:
    return int(name.removeprefix(LOCKS).removesuffix(".json"))


def _take(store: Store, output: str, *, wait: bool, purpose: str) -> Lock:
    """Return a new lock once no live run has one; ConfigError as `hold_lock`."""
    watched: tuple[str, bytes] | None = None
    unchanged_since, said = store.clock.monotonic(), False
    while True:
        highest = _find_highest(store)
        content = _read_bytes(store, highest) if highest else b""
        has_changed = watched is not None and watched != (highest, content)
        if watched != (highest, content):
            watched, unchanged_since = (highest, content), store.clock.monotonic()
        holder = _parse(content)
        unchanged_s = store.clock.monotonic() - unchanged_since
        is_stale = unchanged_s >= STALE_S and not _is_here(holder)
        if not highest or holder.get("released") or _is_dead_here(holder) or is_stale:
            follows_release = not highest or bool(holder.get("released"))
            lock = _create_next(store, highest, follows_release=follows_release, purpose=purpose)
            if lock:
                return lock
            watched = None
            continue
        if not wait and (has_changed or _is_here(holder)):
            raise ConfigError(
                f"output = {output!r} is being written by another run ({_describe_holder(holder)}). "
                "Wait until it ends, or name another output."
            )
        if not said:
            log.notify(f"{output} is being written by another run ({_describe_holder(holder)}). Waiting until it ends.")
            said = True
        store.clock.sleep(LOOK_AGAIN_S)


def _create_next(store: Store, highest: str, *, follows_release: bool, purpose: str) -> Lock | None:
    """Create the lock with the next number and return it; None when another run was faster."""
    number = _read_number(highest) + 1 if highest else 1
    lock = Lock(f"{LOCKS}{number:05d}.json", uuid.uuid4().hex, follows_release, purpose)
    if not store.create(lock.name, _content(store, lock)):
        return None
    # While this run looked for the number, others may have come and gone, and removed theirs.
    if not is_held(store, lock):
        Store.remove_file(store, lock.name)
        return None
    for name in _list_locks(store):
        if _read_number(name) < number:
            Store.remove_file(store, name)
    return lock


def _is_here(holder: dict[str, Any]) -> bool:
    """Whether the run that wrote a lock belongs to this machine, so that its process can be looked up."""
    this = _describe_process()
    return bool(holder) and all(holder.get(key) == this[key] for key in ("host", "boot", "namespace"))


def _is_dead_here(holder: dict[str, Any]) -> bool:
    return _is_here(holder) and _start_time(holder["pid"]) != holder["started"]


def _describe_holder(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "it has not yet written its name"


def _read(store: Store, name: str) -> dict[str, Any]:
    return _parse(_read_bytes(store, name))


def _read_bytes(store: Store, name: str) -> bytes:
    try:
        return store.read(name)
    except FileNotFoundError:
        return b""


def _parse(content: bytes) -> dict[str, Any]:
    """Return what a lock says; nothing where its content is still being written."""
    try:
        return dict(json.loads(content))
    except (TypeError, ValueError):
        return {}


def _content(store: Store, lock: Lock, *, released: bool = False) -> bytes:
    values = asdict(lock) | _describe_process() | {"renewed_at": store.clock.time()}
    return format_json(values | ({"released": True} if released else {})).encode()


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
