"""What this machine has for inference: the processor, its instruction sets, and NVIDIA GPUs; changes nothing."""

import ctypes
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FLAGS = {
    "avx2": "avx2",
    "avx512": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "vnni": "avx512_vnni",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
}
"""Instruction sets that engines use, and the flags of Linux for them."""
CUDA_DRIVER = "libcuda.so.1"
MAX_GPU_NAME_BYTES = 256


@dataclass(frozen=True)
class Processor:
    """The name of the processor and the flags of Linux for what it can do; no flags where they cannot be read."""

    name: str
    flags: frozenset[str]

    @property
    def instruction_sets(self) -> tuple[str, ...]:
        """The instruction sets of FLAGS that the processor has."""
        return tuple(name for name, flag in FLAGS.items() if flag in self.flags)


def read_processor() -> Processor:
    """Return the processor of this machine."""
    cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    lines = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    values = {name.strip(): value.strip() for name, value in lines.items()}
    name = values.get("model name", platform.processor() or platform.machine())
    return Processor(name, frozenset(values.get("flags", "").split()))


def list_gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that this process may use; none where there is no GPU or no driver.

    The driver itself is asked, so that `CUDA_VISIBLE_DEVICES` counts
    (https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html).
    """
    try:
        driver = ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    names = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(MAX_GPU_NAME_BYTES)
        device = ctypes.c_int()
        if driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDeviceGetName(name, MAX_GPU_NAME_BYTES, device):
            return ()
        names.append(name.value.decode("utf-8", "replace"))
    return tuple(names)
