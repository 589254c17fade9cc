"""Files that the service itself makes: the results of jobs and batches."""

import hashlib
import uuid
from pathlib import Path

from sentiment_ray.atomic_files import place_file, write_file
from sentiment_ray.manifest import hash_file
from sentiment_ray.openai_api.ids import now_s
from sentiment_ray.openai_api.tables import File


def store_bytes(state: Path, file_id: str, content: bytes) -> None:
    """Write the bytes of a file; a file that a crash has left under this id is replaced."""
    write_file(state / "files" / file_id, content)


def store_file(state: Path, file_id: str, source: Path) -> None:
    """Copy a finished file to the files; a file that a crash has left under this id is replaced."""
    target = state / "files" / file_id
    temporary = target.with_name(f".{file_id}.{uuid.uuid4().hex[:8]}")
    temporary.hardlink_to(source)
    place_file(temporary, target)


def make_file_row(state: Path, project_id: str, file_id: str, filename: str, purpose: str) -> File:
    """Return the row of a file whose bytes are there."""
    path = state / "files" / file_id
    return File(
        id=file_id,
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        num_bytes=path.stat().st_size,
        sha256=hash_file(path),
        created_at=now_s(),
        request_digest=None,
    )


def make_stable_file_id(kind: str, owner_id: str) -> str:
    """Return the id of a result, which is the same after a crash: nothing is left under another one."""
    return f"file-{hashlib.sha256(f'{kind} of {owner_id}'.encode()).hexdigest()[:24]}"
