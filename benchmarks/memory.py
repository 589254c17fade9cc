"""Samples the memory of a process and of all processes below it, such as Ray's; knows no job.

smaps_rollup of every process is read five times a second, and the peak is the largest sum over all processes. Memory
that processes share counts once. The object store, which Ray limits, is reported separately.
"""

import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

SAMPLE_EVERY_S = 0.2
OBJECT_STORE = "object store"


def peak_memory(process: subprocess.Popen[bytes]) -> Counter[str]:
    """Wait for a process to end and return the KiB of each kind of process at the moment of the largest sum."""
    peak: Counter[str] = Counter()
    while process.poll() is None:
        now = _memory(process.pid)
        if _sum_without_store(now) > _sum_without_store(peak):
            peak = now
        time.sleep(SAMPLE_EVERY_S)
    return peak


def in_mib(peak: Counter[str]) -> dict[str, object]:
    """Return a peak in MiB: the sum without the object store, and the parts."""
    return {
        "peak_mib": round(_sum_without_store(peak) / 2**10),
        "of_which_mib": {name: round(size / 2**10) for name, size in peak.most_common()},
    }


def _sum_without_store(memory: Counter[str]) -> int:
    return memory.total() - memory[OBJECT_STORE]


def _memory(pid: int) -> Counter[str]:
    """Return the KiB of a process and all below it, by kind of process, and of the object store."""
    sizes: Counter[str] = Counter()
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return sizes
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            kind = "driver" if process.pid == pid else _classify(process.cmdline())
        except (OSError, psutil.Error):
            continue
        parts = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        sizes[kind] += parts.get("Pss_Anon", 0) + parts.get("Pss_File", 0)
        sizes[OBJECT_STORE] += parts.get("Pss_Shmem", 0)
    return sizes


def _classify(command: list[str]) -> str:
    """Return the kind of a process: the name of its Ray actor, or `ray` for Ray's own processes."""
    name = command[0] if command else ""
    if "Scorer" in name:
        return "scorers"
    return name.removeprefix("ray::") if name.startswith("ray::") else "ray"
