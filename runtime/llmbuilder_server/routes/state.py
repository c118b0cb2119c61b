"""``/health``, ``/ready``, ``/metrics`` and ``/``."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from llmbuilder_server.errors import ApiError
from llmbuilder_server.page import HEADERS, page
from llmbuilder_server.reference import reference
from llmbuilder_server.routes.common import ERRORS

router = APIRouter()


@router.get("/health", response_class=PlainTextResponse, summary="Whether the server lives")
async def health() -> Response:
    """200 while it does."""
    return PlainTextResponse("ok\n")


@router.get(
    "/ready",
    response_class=PlainTextResponse,
    responses={503: ERRORS[503]},
    summary="Whether it takes requests",
)
async def ready(request: Request) -> Response:
    """200, or 503 while it ends."""
    if request.app.state.ending:
        raise ApiError(503, "The server is ending.", code="ending")
    return PlainTextResponse("ready\n")


@router.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
async def metrics(request: Request) -> Response:
    """All of them."""
    return PlainTextResponse(request.app.state.metrics.text())


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """What can be asked, for people."""
    return HTMLResponse(reference(request.app.openapi()), headers=HEADERS)


@router.get("/", include_in_schema=False)
async def home(request: Request) -> Response:
    """A page for browsers."""
    state = request.app.state
    address = str(request.base_url).rstrip("/")
    return HTMLResponse(page(address, state.models, state.settings), headers=HEADERS)
