"""Routes of files: upload, list, retrieve, content, delete."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import select

from sentiment_ray.openai_api.api_error import not_found
from sentiment_ray.openai_api.files import (
    FINE_TUNE_RESULTS,
    check_room,
    check_upload,
    delete_file,
    describe_file,
    find_file,
    get_path,
    store_upload,
)
from sentiment_ray.openai_api.objects import DeletedFile, FileList, FileObject
from sentiment_ray.openai_api.pages import Order, list_page
from sentiment_ray.openai_api.routing import CurrentService, NumRetries, ProjectId, make_router
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import File
from sentiment_ray.openai_api.upload import make_too_large_error, receive_upload

MAX_LIMIT = 10_000
MAX_OTHER_BYTES = 1 << 16
"""How much larger than its file the body of an upload may be."""
BYTES_AT_ONCE = 1 << 18
UPLOAD_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["fine-tune", "batch"]},
    },
}

router = make_router()


@router.post(
    "/files",
    response_model=FileObject,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD_FORM}}}},
)
async def create(request: Request, service: CurrentService, project_id: ProjectId, num_retries: NumRetries) -> Any:
    """Keep a file of lines of JSON, for a fine-tuning job or for a batch."""
    max_bytes = service.config.max_file_bytes
    declared = request.headers.get("content-length", "")
    num_declared = max(0, int(declared) - MAX_OTHER_BYTES) if declared.isdecimal() else 0
    if num_declared > max_bytes:
        raise make_too_large_error(max_bytes)
    if num_declared:
        await run_in_threadpool(_check_room, service, project_id, num_declared)
    async with receive_upload(request, service.state / "uploads", max_bytes=max_bytes) as upload:
        check_upload(upload)
        file = await run_in_threadpool(store_upload, service, project_id, upload, num_retries=num_retries)
    return describe_file(file)


@router.get("/files", response_model=FileList)
def list_files(
    service: CurrentService,
    project_id: ProjectId,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    order: Order = "desc",
    purpose: str | None = None,
) -> Any:
    """List the project's files, the newest first."""
    with service.database.read_session() as session:
        last = session.get(File, after) if after is not None else None
        if after is not None and (last is None or last.project_id != project_id):
            error = not_found("File", after)
            error.param = "after"
            raise error
        statement = select(File).where(File.project_id == project_id, File.deleted_at.is_(None))
        if purpose is not None:
            statement = statement.where(File.purpose == purpose)
        columns = (File.created_at, File.id)
        return list_page(session, statement, columns, describe_file, after=last, limit=limit, order=order)


@router.get("/files/{file_id}", response_model=FileObject)
def retrieve(file_id: str, service: CurrentService, project_id: ProjectId) -> Any:
    """Return a file's description."""
    with service.database.read_session() as session:
        return describe_file(find_file(session, project_id, file_id))


@router.get(
    "/files/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def retrieve_content(file_id: str, service: CurrentService, project_id: ProjectId) -> Response:
    """Return the bytes of a file; those of a job's results are in base64, as hosted ones are."""
    with service.database.read_session() as session:
        file = find_file(session, project_id, file_id)
    try:
        opened = get_path(service.state, file_id).open("rb")
    except FileNotFoundError:  # deleted meanwhile
        raise not_found("File", file_id) from None
    if file.purpose == FINE_TUNE_RESULTS:
        with opened:
            return Response(base64.b64encode(opened.read()), media_type="application/octet-stream")
    headers = {"content-length": str(file.num_bytes)}
    return StreamingResponse(_read_pieces(opened), media_type="application/octet-stream", headers=headers)


@router.delete("/files/{file_id}", response_model=DeletedFile)
def delete(file_id: str, service: CurrentService, project_id: ProjectId) -> Any:
    """Delete a file that no job or batch reads."""
    delete_file(service, project_id, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def _check_room(service: Service, project_id: str, num_bytes: int) -> None:
    with service.database.session() as session:
        check_room(service, session, project_id, num_bytes)


def _read_pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(BYTES_AT_ONCE):
            yield piece
