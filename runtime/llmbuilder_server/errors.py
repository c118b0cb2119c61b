"""Errors in OpenAI's form: what a client did wrong, or what it must wait for."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from llmbuilder.config import generation_options
from llmbuilder.errors import (
    BundleError,
    BusyError,
    ConfigError,
    ConstraintError,
    ContextOverflowError,
    LLMBuilderError,
    TokenizerError,
)
from llmbuilder.showing import legible
from llmbuilder_server.answers import SafeJSON

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "server_error"}
RETRY_AFTER = "1"
"""Seconds after which it is worth trying again."""


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        close: bool = False,
    ) -> None:
        """Answer with ``status``; ``param`` names the field, ``close`` ends the connection."""
        super().__init__(legible(message))
        self.status = status
        self.code = code
        self.param = param
        self.close = close

    @property
    def content(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The answer."""
        headers = {"Retry-After": RETRY_AFTER} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.close:
            headers["Connection"] = "close"
        return SafeJSON(self.content, self.status, headers)


def translated(error: LLMBuilderError) -> ApiError:
    """An error of the library as an answer; its message is written for users."""
    message = str(error)
    if isinstance(error, BusyError):
        return ApiError(429, message, code="overloaded")
    if isinstance(error, ContextOverflowError):
        return ApiError(400, message, code="context_length_exceeded", param="messages")
    if isinstance(error, ConstraintError):
        return ApiError(400, message, code="constraint_not_met")
    if isinstance(error, ConfigError | BundleError | TokenizerError):
        word = message.split("=", 1)[0].split(" ", 1)[0].rstrip(":")
        return ApiError(400, message, param=word if word in generation_options() else None)
    return ApiError(503, message, code="model_failed")


async def answer_api_error(_: Request, error: Exception) -> Response:
    """An `ApiError` as an answer."""
    assert isinstance(error, ApiError)  # noqa: S101 (registered for it)
    return error.response()


async def answer_library_error(_: Request, error: Exception) -> Response:
    """An error of the library as an answer."""
    assert isinstance(error, LLMBuilderError)  # noqa: S101 (registered for it)
    return translated(error).response()


async def answer_invalid(_: Request, error: Exception) -> Response:
    """A body that has not the form it should have: 400 if it is no JSON, 422 otherwise."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for it)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(
            400, "The body is not JSON. Send an object of JSON in UTF-8.", code="invalid_json"
        ).response()
    return ApiError(422, f"{_place(first['loc'])}: {first['msg']}.", param=_place(first["loc"])).response()


async def answer_http_error(_: Request, error: Exception) -> Response:
    """What the framework refuses: no such address, or not with this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code in (404, 405):
        return ApiError(
            404, "There is nothing at this address with this method. See /docs.", code="not_found"
        ).response()
    return ApiError(400, "The body cannot be read as JSON in UTF-8.", code="invalid_json").response()


def _place(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location[1:]) or "body"
