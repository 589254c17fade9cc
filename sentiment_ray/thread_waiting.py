"""How the threads of torch wait for each other; torch reads it from the environment when it is loaded."""

import os

WAIT_POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SHORT_SPINS = "1000"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable in which `ray job submit` hands on the environment of a job."""


def let_waiting_threads_sleep() -> None:
    """Let threads sleep after a short wait, in this process and in those that it starts; what is set already stays.

    By default OpenMP's threads spin 300,000 times before they sleep. Where more threads want to run than there are
    cores, one that spins takes the core of the one that it waits for: a training of a small encoder took more than
    30 times as long. A thousand spins cost 4 to 13 % of a step on a quiet machine, sleeping at once 13 to 78 %
    (benchmarks/results/training.jsonl). Call it before torch is imported.
    """
    if WAIT_POLICY not in os.environ:
        os.environ.setdefault(SPINS, SHORT_SPINS)


def list_worker_variables() -> dict[str, str]:
    """Return the variables that the workers of another cluster need, which do not inherit this process's own.

    Ray refuses a variable that the job was submitted with, so that one is left out.
    """
    job = os.environ.get(JOB_CONFIG, "")
    return {name: os.environ[name] for name in (WAIT_POLICY, SPINS) if name in os.environ and name not in job}
