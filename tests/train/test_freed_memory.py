"""What a training process frees is there for its next step."""

import json
import os
import subprocess
import sys

from sentiment_ray.train.memory import ENVIRONMENT

PROGRAM = """
import json, resource
from threading import Thread
from sentiment_ray.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        held = [b"x" * 2**24 for _ in range(20)]
        while held:
            held.pop()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def step():
    before = faults()
    kept = keep_freed_memory()
    faults()
    print(json.dumps([kept, before, faults()]))

thread = Thread(target=step)  # as Ray's workers train in one
thread.start()
thread.join()
"""


def test_large_blocks_are_used_again_instead_of_being_fetched_page_by_page() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    kept, before, after = json.loads(done.stdout)
    assert after < before / 100 if kept else after > before / 2
