"""How the threads of torch wait for each other; torch reads it from the environment when it is loaded."""

import os

WAIT_POLICY, SLEEP = "OMP_WAIT_POLICY", "PASSIVE"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable in which `ray job submit` hands on the environment of a job."""


def let_waiting_threads_sleep() -> None:
    """Let threads that wait for others sleep, in this process and in those that it starts; a given policy stays.

    By default OpenMP's threads spin while they wait. Where more threads want to run than there are cores, one that
    spins takes the core of the one that it waits for: a training of a small encoder took 170 times as long beside
    other work. On a quiet machine sleeping costs up to 14 % of a step (benchmarks/results/training.jsonl). Call it
    before torch is imported.
    """
    os.environ.setdefault(WAIT_POLICY, SLEEP)


def list_worker_variables() -> dict[str, str]:
    """Return the variables that the workers of another cluster need, which do not inherit this process's own.

    Ray refuses a variable that the job was submitted with, so that one is left out.
    """
    is_in_job = WAIT_POLICY in os.environ.get(JOB_CONFIG, "")
    return {WAIT_POLICY: os.environ[WAIT_POLICY]} if WAIT_POLICY in os.environ and not is_in_job else {}
