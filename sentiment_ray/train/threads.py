"""Fixes the number of threads that torch computes with in a training process; knows no model and no Ray."""

import ctypes

import torch


def use_threads(number: int) -> None:
    """Compute with so many threads in the calling thread, however busy the machine is.

    A sum is divided among the threads, so its last bits depend on their number. OMP_DYNAMIC=true in the environment
    lets OpenMP take fewer while the machine is busy. Ray sets OMP_NUM_THREADS for its workers. Neither counts here.
    """
    torch.set_num_threads(number)
    set_dynamic = getattr(ctypes.CDLL(torch._C.__file__), "omp_set_dynamic", None)
    if set_dynamic:  # torch may be built without OpenMP
        set_dynamic(0)
