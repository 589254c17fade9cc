"""One run at a time changes an output, whatever clocks, lost replies and sleeping processes do."""

import errno
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray import log, output_lock
from sentiment_ray.errors import ConfigError, StorageError
from sentiment_ray.locked_store import LockedStore, advance_lock, guard
from sentiment_ray.output_lock import STALE_S, Lock, hold_lock, is_held
from sentiment_ray.retrying import SystemClock
from sentiment_ray.storage import Store, open_store
from sentiment_ray.store_location import open_location

ELSEWHERE = {"host": "another", "boot": 1.0, "namespace": "", "pid": 7, "started": 1.0}


class ScriptedClock(SystemClock):
    """A clock whose seconds pass only while somebody waits; each wait calls `during`."""

    def __init__(self, during: Callable[[float], None] = lambda _: None) -> None:
        self.now, self._during = 0.0, during

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._during(self.now)

    def repeat(self, function: Callable[[], bool], every_s: float) -> Callable[[], None]:
        return lambda: None


def _store(path: Path, clock: ScriptedClock) -> Store:
    return Store(open_location(str(path))[0], str(path), clock)


def _write_lock(path: Path, number: int, **values: Any) -> None:
    file = path / f"_plan/lock-{number:05d}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"name": f"_plan/{file.name}", "owner": "another"} | ELSEWHERE | values))


def test_a_run_waits_for_another_one_and_says_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "notify", lambda message, **_: said.append(message))

    def renew(now: float) -> None:
        _write_lock(tmp_path, 1, renewed_at=now, **({"released": True} if now > 1000 else {}))

    renew(0)
    clock = ScriptedClock(renew)
    with hold_lock(_store(tmp_path, clock), "scores", wait=True) as lock:
        assert lock == Lock("_plan/lock-00002.json", lock.owner, follows_release=True)
    assert clock.now > 1000
    assert said == ["scores is being written by another run (process 7 on another). Waiting until it ends."]


def test_a_run_that_may_not_wait_is_refused_when_the_other_one_shows_a_sign_of_life(tmp_path: Path) -> None:
    _write_lock(tmp_path, 1, renewed_at=0)
    clock = ScriptedClock(lambda now: _write_lock(tmp_path, 1, renewed_at=now))
    refused = pytest.raises(ConfigError, match=r"being written by another run \(process 7 on another\)")
    with refused, hold_lock(_store(tmp_path, clock), "scores"):
        pass
    assert clock.now < STALE_S


@pytest.mark.parametrize("renewed_at", [0.0, 4e9], ids=["an old clock", "a clock of the future"])
def test_clocks_of_two_machines_are_not_compared(renewed_at: float, tmp_path: Path) -> None:
    _write_lock(tmp_path, 3, renewed_at=renewed_at)
    clock = ScriptedClock()
    with hold_lock(_store(tmp_path, clock), "scores") as lock:
        assert lock == Lock("_plan/lock-00004.json", lock.owner, follows_release=False)
    assert STALE_S <= clock.now < STALE_S + 20


def test_no_number_is_used_twice(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    names = []
    for _ in range(3):
        with hold_lock(store, "scores") as lock:
            names.append(lock.name)
        assert not is_held(store, lock)
    assert names == [f"_plan/lock-0000{number}.json" for number in (1, 2, 3)]
    assert list(store.list()) == [names[-1]]


def test_a_starter_that_was_late_does_not_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists, and sleeps while others come and go; then the number that it creates is not the highest."""
    store = open_store(str(tmp_path))
    create = Store.create
    others: list[Lock] = []

    def create_late(own: Store, name: str, data: bytes) -> bool:
        monkeypatch.setattr(Store, "create", create)
        for _ in range(2):
            with hold_lock(store, "scores") as lock:
                others.append(lock)
        return own.create(name, data)

    monkeypatch.setattr(Store, "create", create_late)
    with hold_lock(store, "scores") as lock:
        assert lock.name == "_plan/lock-00003.json"
        assert [other.name for other in others] == ["_plan/lock-00001.json", "_plan/lock-00002.json"]


def test_a_lost_reply_is_not_a_rival(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(*open_location(f"{s3}/lost-reply"), ScriptedClock())
    put = type(store.fs).pipe_file

    def put_and_lose(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(type(store.fs), "pipe_file", put)
        put(*arguments, **options)
        raise TimeoutError("the reply was lost")

    monkeypatch.setattr(type(store.fs), "pipe_file", put_and_lose)
    assert store.create("_plan/lock-00001.json", b"mine")
    assert not store.create("_plan/lock-00001.json", b"another")


def test_a_conflict_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = ScriptedClock(), open_store(str(tmp_path))
    create, answers = Store._create, [OSError(errno.EBUSY, "409"), OSError(errno.EBUSY, "409")]

    def create_or_conflict(own: Store, name: str, data: bytes) -> None:
        if answers:
            raise answers.pop()
        create(own, name, data)

    monkeypatch.setattr(Store, "_create", create_or_conflict)
    assert _store(tmp_path, clock).create("a", b"1")
    assert (store.read("a"), clock.now > 0) == (b"1", True)


def test_a_run_that_lost_its_lock_changes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("part", b"old")
    with hold_lock(store, "scores") as lock:
        guarded = guard(store, "scores", lock)
        guarded.write("own", b"1")
        _write_lock(tmp_path, 2)
        (tmp_path / "new").write_bytes(b"new")
        for change in (
            lambda: guarded.write("part", b"new"),
            lambda: guarded.move_in(tmp_path / "new", "part"),
            lambda: guarded.remove("part"),
            lambda: guarded.remove_file("part"),
        ):
            with pytest.raises(ConfigError, match="has been taken over by another run"):
                change()
    assert store.read("part") == b"old"


@dataclass(frozen=True)
class Sleep:
    """What another run does with a file while a process sleeps between its look at the lock and its change of it."""

    before: bytes | None
    other: bytes | None
    expected: bytes | None
    purpose: str = "another"


SLEEPS = {
    "created by both": Sleep(None, b"of another run", b"of another run"),
    "replaced by both": Sleep(b"of an earlier run", b"of another run", b"of another run"),
    "removed by the other": Sleep(b"of an earlier run", None, None),
    "unknown to the other": Sleep(None, None, None),
    "not yet written by another one of the same purpose": Sleep(None, None, b"late", purpose="mine"),
}


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("name", SLEEPS)
def test_a_process_that_slept_before_its_change_changes_nothing_of_another_run(
    place: str, name: str, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep, clock, tries = SLEEPS[name], ScriptedClock(), list[str]()
    (tmp_path / "new").write_bytes(b"late")

    def change_late(own: Store, change: Callable[..., Any], *arguments: Any) -> Any:
        tries.append(arguments[0])
        # The first try to write finds that there is a file already, which is looked at before the next try.
        if isinstance(own, LockedStore) and (arguments[-1] or not sleep.before):
            clock.now += 500
            other = Store(own.fs, own.root, clock)
            other.write("_plan/lock-00002.json", json.dumps({"purpose": sleep.purpose} | ELSEWHERE).encode())
            other.write("file", sleep.other) if sleep.other else other.remove_file("file")
        return change(own, *arguments)

    for method in ("write_version", "remove_version"):
        change = getattr(Store, method)
        monkeypatch.setattr(Store, method, lambda own, *rest, change=change: change_late(own, change, *rest))
    for how in ("write", "move_in", "remove_file"):
        location = str(tmp_path / how) if place == "local" else f"{s3}/slept/{name}/{how}"
        store = Store(*open_location(location), clock)
        refused = nullcontext() if how == "remove_file" else pytest.raises(ConfigError, match="has been taken over")
        with hold_lock(store, "scores", purpose="mine") as lock, refused:
            if sleep.before:
                store.write("file", sleep.before)
            guarded = guard(store, "scores", lock)
            arguments = {"write": ("file", b"late"), "move_in": (tmp_path / "new", "file"), "remove_file": ("file",)}
            getattr(guarded, how)(*arguments[how])
        if how != "remove_file" or sleep.before:
            assert (store.read("file") if "file" in store.list() else None) == sleep.expected, how
    assert tries


def test_workers_of_the_run_are_locked_out_by_the_next_number(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with hold_lock(store, "scores") as lock:
        worker = guard(store, "scores", lock)
        with advance_lock(worker) as driver:
            driver.write("report", b"1")
            with pytest.raises(ConfigError, match="taken over"):
                worker.write("part", b"late")
    assert list(store.list()) == ["_plan/lock-00002.json", "report"]
    assert json.loads(store.read("_plan/lock-00002.json"))["released"]


def test_a_machine_that_sees_no_lock_is_named(tmp_path: Path) -> None:
    worker = guard(open_store(str(tmp_path / "not mounted")), "scores", Lock("_plan/lock-00001.json", "me"))
    with pytest.raises(StorageError, match="holds no lock where .* looks for it. Mount the same directory"):
        worker.write("part", b"1")


def test_a_dead_process_of_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    dead = output_lock._describe_process() | {"pid": 2**22 + 1}
    _write_lock(tmp_path, 1, **dead)
    clock = ScriptedClock()
    with hold_lock(_store(tmp_path, clock), "scores") as lock:
        assert lock.follows_release is False
    assert clock.now == 0
