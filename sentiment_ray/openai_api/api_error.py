"""The one form of every error: a status, and `{"error": {message, type, param, code}}`; knows no framework."""

from collections.abc import Mapping
from typing import Any

NO_RETRY = {"x-should-retry": "false"}
"""Clients send 408, 409, 429 and 5xx again unless an answer has this header."""


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        error_type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.error_type = status, message, param, code, error_type
        self.headers = dict(headers or {})

    def make_body(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {
            "error": {"message": self.message, "type": self.error_type, "param": self.param, "code": self.code},
        }


def not_found(kind: str, object_id: str) -> ApiError:
    """Return the answer for an object that is not there or belongs to another project; `kind` is such as `File`."""
    return ApiError(404, f"No such {kind} object: {object_id}", param="id")


def unknown_model(model: str) -> ApiError:
    """Return the answer for a model that is not there or belongs to another project."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, param="model", code="model_not_found")


def conflict(message: str) -> ApiError:
    """Return the answer for an object whose state forbids the request; clients do not send it again."""
    return ApiError(409, message, headers=NO_RETRY)


def over_quota(message: str, *, retry_after_s: int) -> ApiError:
    """Return the answer for a project that has used up a quota."""
    headers = {"retry-after": str(retry_after_s)}
    return ApiError(429, message, error_type="rate_limit_error", code="rate_limit_exceeded", headers=headers)
