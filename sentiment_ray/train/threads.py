"""Fixes the number of threads that torch computes with in a training process; knows no model and no Ray."""

import ctypes

import torch


def use_threads(number: int) -> None:
    """Let the calling thread compute with so many threads, however busy the machine is.

    A sum is divided among the threads, so its last bits depend on their number. Ray sets OMP_NUM_THREADS for its
    workers; the number here replaces it. With OMP_DYNAMIC=true in the environment, OpenMP would start fewer threads
    while the machine is busy. Parts of a product then stay uncomputed, because oneDNN expects all threads.
    """
    torch.set_num_threads(number)
    openmp = ctypes.CDLL(torch._C.__file__)  # the OpenMP library that torch was linked with
    if hasattr(openmp, "omp_set_dynamic"):
        openmp.omp_set_dynamic(0)
