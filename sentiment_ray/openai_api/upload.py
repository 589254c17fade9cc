"""Receives an upload as it arrives: its fields in any order, its bytes to disk with their sha256, up to a limit.

Clients of Python send `purpose` before `file`, those of Node send it after, in chunks of unknown number. So the bytes
are spooled first, and what they are for is decided at the end.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.parser import ParseFailedException, UnexpectedPartException
from streaming_form_data.targets import BaseTarget

from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.ids import make_id
from sentiment_ray.openai_api.request_shell import ClientGoneError

BYTES_AT_ONCE = 1 << 20
"""How much is collected before a thread parses, hashes and writes it."""
MAX_FIELD_BYTES = 1000
MAX_OTHER_BYTES = 1 << 16
"""Bytes of an upload that are no content of its file: heads of parts, and other fields."""


@dataclass(frozen=True)
class Upload:
    """A file that has arrived; `path` is its place in the spool."""

    path: Path
    filename: str
    purpose: str
    num_bytes: int
    sha256: str


@asynccontextmanager
async def receive_upload(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[Upload]:
    """Yield the upload in the body of a request. What is still in the spool afterwards is removed.

    ApiError: 400 when the form is malformed, 413 when the file is larger than `max_bytes`. ClientGoneError when the
    client has left.
    """
    path = spool / make_id("upload-")
    try:
        with path.open("xb") as file:
            form = _Form(request.headers, file, max_bytes)
            waiting = bytearray()
            try:
                async for chunk in request.stream():
                    waiting += chunk
                    if len(waiting) >= BYTES_AT_ONCE:
                        await run_in_threadpool(form.add, bytes(waiting))
                        waiting.clear()
            except ClientDisconnect:
                raise ClientGoneError from None
            await run_in_threadpool(form.add, bytes(waiting))
            file.flush()
        yield form.finish(path)
    finally:
        path.unlink(missing_ok=True)


class _Form:
    """A form whose bytes are parsed as they come."""

    def __init__(self, headers: Mapping[str, str], file: BinaryIO, max_bytes: int) -> None:
        self._num_bytes = 0
        self._file = _FileTarget(file, max_bytes)
        self._purpose = _TextTarget("purpose")
        try:
            self._parser = StreamingFormDataParser({"Content-Type": headers.get("content-type", "")}, strict=True)
        except (ParseFailedException, ValueError):
            message = "Send the file as multipart/form-data, with the fields 'purpose' and 'file'."
            raise ApiError(400, message) from None
        self._parser.register("file", self._file)
        self._parser.register("purpose", self._purpose)

    def add(self, data: bytes) -> None:
        """Parse the next bytes; ApiError when they are malformed or too many."""
        self._num_bytes += len(data)
        try:
            if data:
                self._parser.data_received(data)
        except UnexpectedPartException as error:
            name = str(error.part_name)
            raise ApiError(400, f"Unrecognized request argument supplied: {name}", param=name) from None
        except (ParseFailedException, ValueError):
            raise _malformed() from None
        if self._num_bytes - self._file.num_bytes > MAX_OTHER_BYTES:
            raise _malformed()

    def finish(self, path: Path) -> Upload:
        """Return the upload; ApiError when a field is missing or did not end."""
        for name, target in (("file", self._file), ("purpose", self._purpose)):
            if not target.has_begun or (name == "file" and not self._file.multipart_filename):
                message = f"'{name}' is a required property"
                raise ApiError(400, message, param=name, code="missing_required_parameter")
            if not target.has_ended:
                raise _malformed()
        return Upload(
            path,
            filename=str(self._file.multipart_filename),
            purpose=self._purpose.data.decode(errors="replace"),
            num_bytes=self._file.num_bytes,
            sha256=self._file.digest.hexdigest(),
        )


class _Target(BaseTarget):  # type: ignore[misc]
    """A field that may come once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.has_begun = self.has_ended = False

    def on_start(self) -> None:
        if self.has_begun:
            raise ApiError(400, f"The field '{self.name}' comes twice.", param=self.name)
        self.has_begun = True

    def on_finish(self) -> None:
        self.has_ended = True


class _FileTarget(_Target):
    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        super().__init__("file")
        self.num_bytes = 0
        self.digest = hashlib.sha256()
        self._write: Callable[[bytes], int] = file.write
        self._max_bytes = max_bytes

    def on_data_received(self, chunk: bytes) -> None:
        self.num_bytes += len(chunk)
        if self.num_bytes > self._max_bytes:
            raise make_too_large_error(self._max_bytes)
        self.digest.update(chunk)
        self._write(chunk)


class _TextTarget(_Target):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.data = b""

    def on_data_received(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > MAX_FIELD_BYTES:
            raise ApiError(400, f"The field '{self.name}' is longer than {MAX_FIELD_BYTES} bytes.", param=self.name)


def make_too_large_error(max_bytes: int) -> ApiError:
    """Return the answer to an upload that is too large."""
    message = f"The file is larger than {max_bytes} bytes, the most that this service takes."
    return ApiError(413, message, param="file", code="file_too_large")


def _malformed() -> ApiError:
    return ApiError(400, "The multipart/form-data of the request is malformed or does not end.")
