"""Makes the ids of objects, and tells the time as the API has it."""

import hashlib
import secrets
import string
import time

LETTERS = string.ascii_letters + string.digits
NUM_LETTERS = 24


def make_id(prefix: str, *, num_letters: int = NUM_LETTERS) -> str:
    """Return a new random id such as file-4jJ…; it is safe as a file name and in a shell."""
    return f"{prefix}{''.join(secrets.choice(LETTERS) for _ in range(num_letters))}"


def make_answer_id(prefix: str) -> str:
    """Return a new random id of an answer, which is stored nowhere; it takes a thirtieth of the time of `make_id`."""
    return prefix + secrets.token_hex(12)


def make_result_id(kind: str, owner_id: str) -> str:
    """Return the id of the result file of a job or a batch: after a crash it is the same, so nothing is left over."""
    return f"file-{hashlib.sha256(f'{kind} of {owner_id}'.encode()).hexdigest()[:NUM_LETTERS]}"


def now_s() -> int:
    """Return the seconds since 1970."""
    return int(time.time())
