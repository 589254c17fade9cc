"""Tells faults that may pass by themselves from answers, and repeats calls while they last; knows no store."""

import errno
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from sentiment_ray.errors import SentimentRayError, StorageError, first_line
from sentiment_ray.paths import describe_os_error

T = TypeVar("T")

ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
ANSWERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""What a store says about a name. To ask again changes nothing."""
LASTING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ENOSYS, errno.ELOOP}
)
"""Errors of the operating system that stay until a person mends something."""
KEPT = "No row was quarantined for this. Run the same command again when it is mended: what is finished is kept."
OWN_MODULES = ("builtins", "json", "pyarrow", "ray", "sentiment_ray", "pydantic_core")
"""Modules whose exceptions are never a store's. Every library of a store has its own for a failing network."""


class Clock(Protocol):
    """Time as a run sees it, so that a test can replace it."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def time(self) -> float:
        """Return seconds since 1970, which may jump and differ between machines."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def repeat(self, function: Callable[[], bool], every_s: float) -> Callable[[], None]:
        """Call a function every so many seconds in the background until it returns False.

        Return a function that ends this and waits for the call in progress.
        """


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait in this thread."""
        time.sleep(seconds)

    def repeat(self, function: Callable[[], bool], every_s: float) -> Callable[[], None]:
        """Call the function in a thread."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(every_s) and function():
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()

        return end


SYSTEM_CLOCK = SystemClock()


class PassingFault(OSError):
    """A fault that may pass by itself, seen where no library raises an error, such as a body that was cut."""


def is_passing(error: BaseException) -> bool:
    """Whether an error may pass by itself, so that it says nothing about the data.

    It may for every error of the operating system, of memory and of a store's library, except for an answer such as
    "no such file" and for what a person must mend, such as a full disk.
    """
    if isinstance(error, OSError):
        return not isinstance(error, ANSWERS) and error.errno not in LASTING
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, Exception) and type(error).__module__.partition(".")[0] not in OWN_MODULES


def is_machine_fault(error: BaseException) -> bool:
    """Whether an error says that this machine lacks something for now. Errors of the operating system have a number."""
    if isinstance(error, PassingFault | MemoryError):
        return True
    return isinstance(error, OSError) and error.errno is not None and is_passing(error)


def retry_passing(
    call: Callable[[], T],
    what: str,
    *,
    clock: Clock = SYSTEM_CLOCK,
    attempts: int = ATTEMPTS,
    passes: Callable[[BaseException], bool] = is_passing,
    remedy: str = KEPT,
) -> T:
    """Call a function, again after each fault that `passes`, and return its result; StorageError when the fault stays.

    `what` begins the message: the file, or what was tried; nothing if the fault itself says that. `remedy` ends it.
    """
    retrying = Retrying(
        retry=retry_if_exception(passes),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S) + wait_random(0, FIRST_WAIT_S),
        sleep=clock.sleep,
        reraise=True,
    )
    try:
        return retrying(call)
    except SentimentRayError:
        raise
    except Exception as error:
        if not passes(error):
            raise
        described = describe_fault(error)
        raise StorageError(f"{f'{what}: {described}' if what else described}. {remedy}") from error


def describe_fault(error: Exception) -> str:
    """Return in one line what a passing fault is, without a full stop."""
    if isinstance(error, PassingFault):
        return first_line(error)
    if isinstance(error, MemoryError):
        return f"not enough memory ({first_line(error)})"
    if isinstance(error, OSError) and error.errno:
        return f"{describe_os_error(error).rstrip('.')} (error {error.errno})"
    return f"{type(error).__name__}: {first_line(error)}"
