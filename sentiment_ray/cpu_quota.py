"""How many threads can compute at once here: the cores that this process may use, at most its container's CPU quota."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of control groups, which containers are made of."""
OWN_CGROUPS = Path("/proc/self/cgroup")
"""Lines `number:controllers:path`, one for each hierarchy that this process is in."""


def count_usable_cpus() -> int:
    """Return the number of cores that this process may use, at most its CPU quota, rounded up; at least 1."""
    num_cores, quota = len(os.sched_getaffinity(0)), read_cpu_quota()
    return num_cores if quota is None else max(1, min(num_cores, math.ceil(quota)))


def read_cpu_quota() -> float | None:
    """Return how many cores' worth of time this process may use, or None without a limit.

    The smallest quota of its control group and that group's parents holds. Version 2 has it in `cpu.max`, version 1 in
    `cpu.cfs_quota_us` (https://docs.kernel.org/admin-guide/cgroup-v2.html,
    https://docs.kernel.org/scheduler/sched-bwc.html). A file that cannot be read sets no limit.
    """
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    directories = [directory for line in lines for directory in _list_directories(line)]
    quotas = [quota for directory in directories if (quota := _read_quota(directory)) is not None]
    return min(quotas, default=None)


def _list_directories(line: str) -> Iterator[Path]:
    """Yield the directories that may limit the process: of its group in one hierarchy, and of all parents."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if controllers and "cpu" not in controllers.split(","):
        return
    # Inside a container the path may be that of the host. Then only the mount itself is there, and it is the own group.
    group = PurePosixPath(path.lstrip("/"))
    groups = [PurePosixPath()] if ".." in group.parts else [group, *group.parents]
    for mount in (controllers, "cpu") if controllers else ("", "unified"):
        yield from (CGROUPS / mount / each for each in groups)


def _read_quota(directory: Path) -> float | None:
    """Return the quota of one control group in cores, or None."""
    try:
        if (directory / "cpu.max").exists():
            quota_us, period_us = (directory / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota_us, period_us = (
                (directory / name).read_text(encoding="utf-8") for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        quota = int(quota_us) / int(period_us)
    except (OSError, ValueError, ZeroDivisionError):  # no such file; "max"
        return None
    return quota if quota > 0 else None  # version 1 has -1 where there is no limit
