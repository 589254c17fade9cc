"""Samples the memory of a process and of all that it starts, Ray among them; knows no job.

The peak is that of the sum over all processes, looked at five times a second in smaps_rollup; what they share counts
once, and the object store, which Ray bounds by itself, is given apart.
"""

import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

EVERY_S = 0.2
OBJECT_STORE = "object store"


def peak_memory(process: subprocess.Popen[bytes]) -> Counter[str]:
    """Wait for a process and return KiB by kind of process at the moment when all together had the most."""
    peak: Counter[str] = Counter()
    while process.poll() is None:
        now = _memory(process.pid)
        if _own(now) > _own(peak):
            peak = now
        time.sleep(EVERY_S)
    return peak


def in_mib(peak: Counter[str]) -> dict[str, object]:
    """Return a peak as it is printed: the sum but for the object store, and its parts."""
    return {
        "peak_mib": round(_own(peak) / 2**10),
        "of_which_mib": {name: round(size / 2**10) for name, size in peak.most_common()},
    }


def _own(memory: Counter[str]) -> int:
    return memory.total() - memory[OBJECT_STORE]


def _memory(pid: int) -> Counter[str]:
    """Return KiB of a process and all below it by kind of process, and of the object store."""
    sizes: Counter[str] = Counter()
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return sizes
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            kind = "driver" if process.pid == pid else _kind_of(process.cmdline())
        except (OSError, psutil.Error):
            continue
        parts = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        sizes[kind] += parts.get("Pss_Anon", 0) + parts.get("Pss_File", 0)
        sizes[OBJECT_STORE] += parts.get("Pss_Shmem", 0)
    return sizes


def _kind_of(command: list[str]) -> str:
    """Return what a process of Ray's is for: the name of its actor, or Ray itself."""
    name = command[0] if command else ""
    if "Scorer" in name:
        return "scorers"
    return name.removeprefix("ray::") if name.startswith("ray::") else "ray"
