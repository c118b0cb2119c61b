"""What several addresses have in common."""

from typing import Any

from starlette.requests import Request

from llmbuilder.checks import shown
from llmbuilder_server.bodies import ErrorBody
from llmbuilder_server.errors import ApiError
from llmbuilder_server.served import Served

_TOLD = {
    400: "A field, or a name in Host or Origin, that cannot be used; a prompt that does not fit (ConfigError, "
    "ConstraintError, ContextOverflowError, BundleError, TokenizerError).",
    401: "The API key is missing or wrong.",
    404: "No such model.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A field of a wrong type, or none where one must be.",
    429: "Too many requests wait, or this one has waited for too long; try again after Retry-After (BusyError).",
    503: "The server is ending, or the model has failed (DeviceError).",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": told, "model": ErrorBody} for status, told in _TOLD.items()
}

STREAMED = ERRORS | {200: {"description": "An object, or events.", "content": {"text/event-stream": {}}}}
"""Of addresses whose answers may stream."""


def model_of(request: Request, name: str | None) -> Served:
    """The model of that name; the only one where none is named.

    Raises:
        ApiError: there is none.
    """
    models: dict[str, Served] = request.app.state.models
    if name is None and len(models) == 1:
        return next(iter(models.values()))
    if name is None:
        raise ApiError(400, f"Name a model: {', '.join(models)}.", param="model")
    if name not in models:
        raise ApiError(
            404,
            f"There is no model {shown(name)} here, but {', '.join(models)}.",
            code="model_not_found",
            param="model",
        )
    return models[name]
