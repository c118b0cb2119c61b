"""``/v1/models``."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llmbuilder_server.answers import SafeJSON
from llmbuilder_server.routes.common import ERRORS, model_of
from llmbuilder_server.served import Served

router = APIRouter()


@router.get("/v1/models", responses=ERRORS, summary="List the models")
async def list_models(request: Request) -> Response:
    """Which models there are."""
    models: dict[str, Served] = request.app.state.models
    return SafeJSON({"object": "list", "data": [_described(model) for model in models.values()]})


@router.get("/v1/models/{name:path}", responses=ERRORS, summary="Describe a model")
async def one_model(request: Request, name: str) -> Response:
    """What a model is."""
    return SafeJSON(_described(model_of(request, name)))


def _described(model: Served) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "llmbuilder",
        "max_model_len": model.window,
    }
