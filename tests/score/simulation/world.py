"""A world of processes on several hosts with one object store, in which a seed decides everything that happens."""

import errno
import io
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

MAX_STEPS = 40_000
MAX_SLEEPS = 12
SLOW_REPLY = 0.3
"""Share of the replies that take so long that others act before."""
LONGEST_TRANSFER_S = 45.0
"""Seconds within which a request that was sent has arrived."""


class StoreError(Exception):
    """What the library of this store raises for a failing network."""


class Stuck(Exception):
    """The processes of a schedule have not come to an end."""


@dataclass
class Faults:
    """How often each disturbance happens, as a share of the requests or of the steps."""

    error: float = 0.0
    """The request fails before it has an effect."""
    lost_reply: float = 0.0
    """The request has its effect, and the reply is lost."""
    short_put: float = 0.0
    """The client leaves an upload short and says nothing."""
    conflict: float = 0.0
    """A conditional request is answered with 409."""
    kill: float = 0.0
    """The process that sends a request is killed."""
    freeze: float = 0.0
    """The process that lists the store sleeps for minutes before it does."""
    slow: float = 0.0
    """The request takes seconds to arrive."""
    late_change: float = 0.0
    """The process sleeps for minutes between what it has seen and its change of the store."""


@dataclass
class Object:
    """The bytes of an object, and what changes with them."""

    data: bytes
    version: str


@dataclass(eq=False)
class Process:
    """A process of the world: a greenlet, the host it runs on, and how far that host's clock is off."""

    name: str
    host: str
    pid: int
    skew_s: float
    body: Callable[[], None]
    can_die: bool = True
    is_late: bool = False
    """Whether the process has slept between what it has seen and its change of the store."""
    parent: "Process | None" = None
    wake_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = float("inf")
    is_alive: bool = True
    counts_as: str = ""
    """What the deaths of the process are counted for."""
    dies_before: str = ""
    """Part of the name of the file before whose writing the process is killed."""
    error: BaseException | None = None
    result: Any = None
    greenlet: Any = None


@dataclass
class World:
    """Processes, time and objects; `run` lets the processes take turns until all have ended."""

    seed: int
    faults: Faults
    chance: random.Random = field(init=False)
    now: float = 1000.0
    processes: list[Process] = field(default_factory=list)
    objects: dict[str, Object] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    """Objects written or removed, by the person whose run did it."""
    steps: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    """Deaths and long sleeps by chance, of the workers of each unit."""
    finished: set[str] = field(default_factory=set)
    """Units whose worker has returned their receipt."""
    log: list[str] = field(default_factory=list)
    sleeps: int = 0
    is_over: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.hub = getcurrent()

    def start(
        self, name: str, host: str, body: Callable[[], None], *, parent: Process | None = None, skew_s: float = 0.0
    ) -> Process:
        """Start a process; a child dies a little after its parent."""
        process = Process(
            name, host, len(self.processes) + 1, skew_s, body, parent=parent, wake_at=self.now, started_at=self.now
        )

        def run() -> None:
            try:
                process.result = body()
            except Exception as error:
                process.error = error
            process.is_alive, process.ended_at = False, self.now

        process.greenlet = greenlet(run, parent=self.hub)
        process.greenlet.process = process
        self.processes.append(process)
        return process

    @property
    def current(self) -> Process:
        """The process that runs now."""
        return getcurrent().process  # type: ignore[attr-defined, no-any-return]

    def run(self) -> None:
        """Let one process after the other take a turn, those that are due in random order, until all have ended."""
        while alive := [process for process in self.processes if process.is_alive]:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise Stuck(f"{[process.name for process in alive]} have not ended")
            due = [process for process in alive if process.wake_at <= self.now]
            if not due:
                self.now = min(process.wake_at for process in alive)
                continue
            self.chance.choice(due).greenlet.switch()

    def kill(self, process: Process) -> None:
        """End a process at once: nothing of it runs any more."""
        process.is_alive, process.ended_at = False, self.now
        self.deaths[process.counts_as] += 1
        self.log.append(f"{self.now:.1f} {process.name} is killed")
        if process.greenlet is getcurrent():
            self.hub.switch()

    def sleep(self, seconds: float) -> None:
        """Let the process that runs now wait."""
        process = self.current
        process.wake_at = self.now + seconds
        self.hub.switch()

    def freeze_by_chance(self) -> None:
        """Perhaps let the process that runs now sleep."""
        if self.happens(self.faults.freeze) and self.current.can_die and self.sleeps < MAX_SLEEPS:
            self.freeze()

    def freeze(self) -> None:
        """Let the process that runs now sleep for minutes with all its threads, as when its machine is suspended."""
        process, seconds = self.current, self.chance.uniform(100, 400)
        self.deaths[process.counts_as] += 1
        self.sleeps += 1
        self.log.append(f"{self.now:.1f} {process.name} sleeps for {seconds:.0f} s")
        for thread in self.processes:
            if thread.pid == process.pid and thread is not process:
                thread.wake_at = max(thread.wake_at, self.now + seconds)
        self.sleep(seconds)

    def close(self) -> None:
        """Take apart the processes that were killed."""
        self.is_over = True
        for process in self.processes:
            if not process.greenlet.dead:
                process.greenlet.throw()

    def count_change(self, process: Process) -> None:
        """Count a change of an object for the person whose run the process belongs to."""
        self.changes[process.name.partition(".")[0]] += 1

    def _deliver_later(self, effect: Callable[[], Any]) -> None:
        """Let a request that was sent arrive although its process is dead."""

        def deliver() -> None:
            self.sleep(self.chance.uniform(0, LONGEST_TRANSFER_S))
            effect()

        self.start("network", "", deliver)

    def happens(self, share: float) -> bool:
        """Decide by chance whether a disturbance happens."""
        return share > 0 and self.chance.random() < share

    def request(self, what: str, effect: Callable[[], Any], *, is_write: bool) -> Any:
        """Send a request of the current process to the store and return its reply, with all that may go wrong."""
        if self.is_over:
            raise GreenletExit
        process, faults = self.current, self.faults
        if process.parent and not process.parent.is_alive and not process.is_late and self.happens(0.1):
            self.kill(process)
        if process.dies_before and is_write and process.dies_before in what:
            self.kill(process)
        slow = self.happens(faults.slow) and is_write
        self.sleep(self.chance.uniform(1, LONGEST_TRANSFER_S) if slow else self.chance.uniform(0, 0.2))
        if is_write and process.can_die and self.happens(faults.late_change) and self.sleeps < MAX_SLEEPS:
            process.is_late, process.can_die = True, False  # one misfortune is enough
            self.freeze()
        if process.can_die and self.happens(faults.kill):
            if is_write and self.happens(0.5):
                self._deliver_later(effect)
            self.kill(process)
        if self.happens(faults.error):
            raise StoreError(f"{what}: connection reset")
        result = effect()
        if self.happens(SLOW_REPLY):
            self.sleep(self.chance.uniform(0, 0.6))
        if self.happens(faults.lost_reply):
            raise StoreError(f"{what}: the reply was lost")
        return result


class WorldClock:
    """Time as the process that runs now sees it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.now

    def time(self) -> float:
        return self._world.now + self._world.current.skew_s

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)

    def repeat(self, function: Callable[[], bool], every_s: float) -> Callable[[], None]:
        """Call the function in a process of its own that is killed with the one that asks for it."""
        world, owner, stopped = self._world, self._world.current, []

        def run() -> None:
            while not stopped and owner.is_alive:
                world.sleep(every_s)
                if stopped or not owner.is_alive or not function():
                    return

        renewal = world.start(f"{owner.name} renewal", owner.host, run, skew_s=owner.skew_s)
        renewal.pid, renewal.can_die = owner.pid, False

        def end() -> None:
            stopped.append(True)  # what it has sent may still arrive

        return end


class WorldFileSystem:
    """The object store as fsspec shows one: only what `Store` calls."""

    protocol = "world"

    def __init__(self, world: World) -> None:
        self._world = world

    def unstrip_protocol(self, path: str) -> str:
        return f"world://{path}"

    def invalidate_cache(self) -> None:
        """Do nothing: nothing is cached."""

    def cat_file(self, path: str) -> bytes:
        return bytes(self._world.request(f"GET {path}", lambda: self._get(path).data, is_write=False))

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self.cat_file(path))

    def info(self, path: str) -> dict[str, Any]:
        return dict(self._world.request(f"HEAD {path}", lambda: self._describe(path), is_write=False))

    def find(self, path: str, *, detail: bool = True) -> dict[str, dict[str, Any]]:
        world = self._world
        world.freeze_by_chance()
        start = path.rstrip("/") + "/"

        def look() -> dict[str, dict[str, Any]]:
            return {each: self._describe(each) for each in world.objects if each == path or each.startswith(start)}

        return dict(world.request(f"LIST {path}", look, is_write=False))

    def ls(self, path: str, *, detail: bool = False) -> list[str]:
        start = path.rstrip("/") + "/"
        return sorted({start + each.removeprefix(start).partition("/")[0] for each in self.find(path)})

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite", IfMatch: str = "") -> None:
        world = self._world
        if (mode == "create" or IfMatch) and world.happens(world.faults.conflict):
            raise OSError(errno.EBUSY, "409: a conflicting operation is in progress")

        process = world.current

        def put() -> bool:
            if (mode == "create" and path in world.objects) or not self._is_version(path, IfMatch):
                return False
            self._set(process, path, data)
            return True

        if not world.request(f"PUT {path}", put, is_write=True):
            raise FileExistsError(path) if mode == "create" else OSError(errno.EINVAL, "PreconditionFailed")

    def put_file(self, local: str, path: str, mode: str = "overwrite", IfMatch: str = "") -> None:
        data = Path(local).read_bytes()
        if self._world.happens(self._world.faults.short_put):
            data = data[: len(data) // 2]
        self.pipe_file(path, data, mode, IfMatch)

    def rm_file(self, path: str) -> None:
        self.call_s3("delete_object", "", path)

    def split_path(self, path: str) -> tuple[str, str, None]:
        return "", path, None

    def call_s3(self, method: str, Bucket: str, Key: str, IfMatch: str = "") -> None:
        """Remove an object, as S3 does."""
        assert method == "delete_object" and not Bucket
        process = self._world.current

        def remove() -> bool:
            if not self._is_version(Key, IfMatch):
                return False
            self._world.count_change(process)
            self._world.objects.pop(Key, None)
            return True

        if not self._world.request(f"DELETE {Key}", remove, is_write=True):
            raise OSError(errno.EINVAL, "PreconditionFailed")

    def _is_version(self, path: str, version: str) -> bool:
        """Whether an object has this version, or may have any; FileNotFoundError as S3 answers."""
        return not version or self._get(path).version == version

    def _get(self, path: str) -> Object:
        if path not in self._world.objects:
            raise FileNotFoundError(path)
        return self._world.objects[path]

    def _describe(self, path: str) -> dict[str, Any]:
        found = self._get(path)
        return {"name": path, "size": len(found.data), "ETag": found.version, "type": "file"}

    def _set(self, process: Process, path: str, data: bytes) -> None:
        self._world.count_change(process)
        self._world.objects[path] = Object(data, f"v{self._world.changes.total()}")
