"""What several addresses have in common."""

from typing import Any

from starlette.requests import Request

from llmbuilder.checks import shown
from llmbuilder_server.errors import ApiError
from llmbuilder_server.served import Served

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field that cannot be used."},
    401: {"description": "The API key is missing or wrong."},
    404: {"description": "No such model."},
    413: {"description": "The body is too large."},
    415: {"description": "The body is not application/json."},
    422: {"description": "A field of a wrong type."},
    429: {"description": "Too many requests wait; try again after Retry-After."},
    503: {"description": "The server is ending, or the model has failed."},
}


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
