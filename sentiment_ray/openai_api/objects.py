"""The objects of files and models in answers, as the OpenAPI document describes them."""

from typing import Literal

from pydantic import BaseModel


class ErrorDetails(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetails


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["fine-tune", "batch", "fine-tune-results", "batch_output"]
    status: Literal["processed"]
    status_details: str | None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(BaseModel):
    """The answer to the deletion of a file."""

    id: str
    object: Literal["file"]
    deleted: bool


class ModelObject(BaseModel):
    """A model that may be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models of a project."""

    object: Literal["list"]
    data: list[ModelObject]


class DeletedModel(BaseModel):
    """The answer to the deletion of a model."""

    id: str
    object: Literal["model"]
    deleted: bool
