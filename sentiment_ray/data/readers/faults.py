"""Faults of a disk, of memory or of a mount while a source is read: tried again, and never taken for damage."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sentiment_ray.parquet_types import is_damage
from sentiment_ray.retrying import SYSTEM_CLOCK, Clock, PassingFault, describe_fault, is_machine_fault, retry_passing

T = TypeVar("T")

REMEDY = "No row was set aside for this. Run the same command again when it is mended."


def retry_reading(call: Callable[[], T], *, clock: Clock = SYSTEM_CLOCK) -> T:
    """Call a function that reads sources, again after each passing fault; StorageError when the fault stays."""
    return retry_passing(call, "", clock=clock, passes=is_machine_fault, remedy=REMEDY)


def refuse_fault(error: Exception, path: Path | str) -> None:
    """Raise PassingFault, which names the file, unless an error says that the file is damaged.

    A file that was listed and is not there now is no damage either: this node may lack what another one has mounted.
    """
    if isinstance(error, PassingFault):
        raise error
    if isinstance(error, FileNotFoundError):
        host = socket.gethostname()
        raise PassingFault(
            f"{path} is not there for {host}. Mount its directory on every node, or restore it"
        ) from error
    if isinstance(error, OSError | MemoryError) and not is_damage(error):
        raise PassingFault(f"{path}: {describe_fault(error)}") from error
