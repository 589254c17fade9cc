"""Makes the ids of objects, and tells the time as the API has it."""

import hashlib
import random
import secrets
import string
import time

LETTERS = string.ascii_letters + string.digits
TIME_LETTERS = string.digits + string.ascii_lowercase
"""Letters that databases sort alike, whatever their language is."""
NUM_LETTERS, NUM_TIME_LETTERS = 24, 9


def make_id(prefix: str) -> str:
    """Return a new id such as file-0k9v2…; it is safe as a file name and in a shell.

    It begins with the time in milliseconds, so that ids of one second have the order in which they were made.
    """
    return f"{prefix}{_write_time_ms()}{make_secret(NUM_LETTERS - NUM_TIME_LETTERS)}"


def make_secret(num_letters: int) -> str:
    """Return random letters and digits."""
    return "".join(secrets.choice(LETTERS) for _ in range(num_letters))


def make_answer_id(prefix: str) -> str:
    """Return a new random id of an answer, which is stored nowhere; so it need not be a secret."""
    return f"{prefix}{random.getrandbits(96):024x}"


def make_result_id(kind: str, owner_id: str) -> str:
    """Return the id of the result file of a job or a batch: after a crash it is the same, so nothing is left over."""
    return f"file-{hashlib.sha256(f'{kind} of {owner_id}'.encode()).hexdigest()[:NUM_LETTERS]}"


def now_s() -> int:
    """Return the seconds since 1970."""
    return int(time.time())


def _write_time_ms() -> str:
    rest, letters = time.time_ns() // 1_000_000, ""
    for _ in range(NUM_TIME_LETTERS):
        rest, index = divmod(rest, len(TIME_LETTERS))
        letters = TIME_LETTERS[index] + letters
    return letters
