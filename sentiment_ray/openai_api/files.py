"""The store of files: keeps uploads and results, finds them, deletes them. The bytes of a file are files/ID.

A file's row is there only while its bytes are: they are placed before the row is committed, and removed after it is
marked as deleted.
"""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from sentiment_ray.atomic_files import place_file
from sentiment_ray.openai_api.api_error import ApiError, conflict, not_found, over_quota
from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.repeated_create import compute_request_digest, find_repeated
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.state_directory import MAX_UPLOAD_AGE_S
from sentiment_ray.openai_api.tables import Batch, File, Job, Project
from sentiment_ray.openai_api.upload import Upload

FINE_TUNE, BATCH = "fine-tune", "batch"
FINE_TUNE_RESULTS, BATCH_OUTPUT = "fine-tune-results", "batch_output"
UPLOAD_PURPOSES = {FINE_TUNE: "Fine-Tuning API", BATCH: "Batch API"}
"""What may be uploaded, and the API that reads it."""
ENDED_JOB = ("succeeded", "failed", "cancelled")
ENDED_BATCH = ("completed", "failed", "cancelled", "expired")
FOR_READING = {"read": True}
"""The lock of a file that several jobs and batches may hold at once, and a deletion waits for."""
RETRY_AFTER_S = 60
"""How long a project is asked to wait whose files take up all the room that it may have."""


def get_path(state: Path, file_id: str) -> Path:
    """Return where the bytes of a file are; the id is one of the database."""
    return state / "files" / file_id


def describe_file(file: File) -> dict[str, Any]:
    """Return a file as the API has it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": file.created_at,
        "expires_at": None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def find_file(
    session: Session, project_id: str, file_id: str, *, param: str = "id", lock: bool | dict[str, bool] = False
) -> File:
    """Return a file of a project; ApiError with 404 when there is none.

    With the lock FOR_READING it is not deleted until the session ends: for a job or a batch that is recorded.
    """
    file = session.get(File, file_id, with_for_update=lock)
    if file is None or file.project_id != project_id or file.deleted_at is not None:
        error = not_found("File", file_id)
        error.param = param
        raise error
    return file


def check_upload(upload: Upload) -> None:
    """Refuse an upload of an unknown purpose, with another ending than .jsonl, or without content."""
    if upload.purpose not in UPLOAD_PURPOSES:
        known = " or ".join(f"'{purpose}'" for purpose in UPLOAD_PURPOSES)
        message = f"'{upload.purpose}' is not one of the purposes that can be uploaded here. Send {known}."
        raise ApiError(400, message, param="purpose", code="invalid_value")
    if not upload.filename.lower().endswith(".jsonl"):
        message = f"Invalid file format for {UPLOAD_PURPOSES[upload.purpose]}. Must be .jsonl"
        raise ApiError(400, message, param="file", code="invalid_file_format")
    if not upload.num_bytes:
        raise ApiError(400, "File is empty.", param="file", code="empty_file")


def store_upload(service: Service, project_id: str, upload: Upload, *, num_retries: int) -> File:
    """Keep an upload and return its row, or the row of the same upload that was sent before."""
    digest = compute_request_digest("file", [upload.purpose, upload.filename, upload.sha256])
    file_id = make_id("file-")
    path = get_path(service.state, file_id)
    place_file(upload.path, path)
    is_stored = False
    try:
        with service.database.session() as session:
            found = find_repeated(session, File, project_id, digest, num_retries)
            if found is None:
                check_room(service, session, project_id, upload.num_bytes)
                found = _make_row(file_id, project_id, upload.filename, upload.purpose)
                found.num_bytes, found.sha256, found.request_digest = upload.num_bytes, upload.sha256, digest
                session.add(found)
            session.flush()
        is_stored = found.id == file_id
    finally:
        if not is_stored:
            path.unlink(missing_ok=True)
    return found


def check_room(service: Service, session: Session, project_id: str, num_bytes: int) -> None:
    """Refuse with 429 an upload of so many bytes when a project's files would take up too much."""
    session.get(Project, project_id, with_for_update=True)  # of two uploads at once, the second counts the first
    statement = select(func.coalesce(func.sum(File.num_bytes), 0))
    used = int(session.scalar(statement.where(File.project_id == project_id, File.deleted_at.is_(None))) or 0)
    limit = service.config.max_project_bytes
    if used + num_bytes > limit:
        message = f"The files of the project have {used} bytes of {limit} that they may have. Delete some of them."
        error = over_quota(message, retry_after_s=RETRY_AFTER_S)
        error.param = "file"
        raise error


def add_result_file(
    service: Service, session: Session, *, project_id: str, source: Path, filename: str, purpose: str, file_id: str
) -> File:
    """Move a finished local file into the store, and add its row to a session, which commits it with what names it.

    With an id that was chosen before, it can be called again after a crash: then the bytes may be there already.
    """
    path = get_path(service.state, file_id)
    if source.exists():
        place_file(source, path)
    file = _make_row(file_id, project_id, filename, purpose)
    file.num_bytes, file.sha256 = path.stat().st_size, _hash_file(path)
    session.add(file)
    return file


def delete_file(service: Service, project_id: str, file_id: str) -> None:
    """Delete a file; ApiError with 409 while a job or a batch that has not ended reads it."""
    with service.database.session() as session:
        file = find_file(session, project_id, file_id, lock=True)
        is_read = or_(Job.training_file == file_id, Job.validation_file == file_id)
        reader = session.scalar(select(Job.id).where(is_read, Job.status.not_in(ENDED_JOB)).limit(1))
        if reader is None:
            statement = select(Batch.id).where(Batch.input_file == file_id, Batch.status.not_in(ENDED_BATCH))
            reader = session.scalar(statement.limit(1))
        if reader is not None:
            raise conflict(f"The file {file_id} is in use by {reader}. Wait until that has ended, or cancel it.")
        file.deleted_at = now_s()
    get_path(service.state, file_id).unlink(missing_ok=True)


def remove_orphans(database: Database, state: Path) -> None:
    """Remove bytes without a row, which a service that was killed has left behind, once they are old."""
    with database.read_session() as session:
        known = set(session.scalars(select(File.id).where(File.deleted_at.is_(None))))
    for path in (state / "files").iterdir():
        with suppress(FileNotFoundError):
            if path.name not in known and time.time() - path.stat().st_mtime > MAX_UPLOAD_AGE_S:
                path.unlink()


def _make_row(file_id: str, project_id: str, filename: str, purpose: str) -> File:
    return File(
        id=file_id,
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        created_at=now_s(),
        request_digest=None,
        last_retry=0,
        deleted_at=None,
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
