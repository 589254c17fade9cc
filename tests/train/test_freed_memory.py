"""What a training process frees is there for its next step."""

import json
import subprocess
import sys

PROGRAM = """
import json, resource
from sentiment_ray.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults()]
kept = keep_freed_memory()
faults()
print(json.dumps([kept, *found, faults()]))
"""


def test_large_blocks_are_used_again_instead_of_being_fetched_page_by_page() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, before, after = json.loads(done.stdout)
    assert after < before / 100 if kept else after == before
