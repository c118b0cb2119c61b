"""The application: models, addresses, and what stands before them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.thread import DecodingThread
from llmbuilder_server import errors
from llmbuilder_server.access import Access
from llmbuilder_server.gate import Ending, Gate
from llmbuilder_server.metrics import Metrics
from llmbuilder_server.routes import chat, completions, models, state, tokens
from llmbuilder_server.served import Served
from llmbuilder_server.settings import Settings

_ROUTERS = (models.router, completions.router, chat.router, tokens.router, state.router)


class Server:
    """An application with what is told of it from outside."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Put everything before ``app`` that stands there."""
        self.app = app
        self.settings = settings
        self.ending: Ending = app.state.ending
        paths = frozenset(path for path in app.openapi()["paths"] if "{" not in path) | {
            "/",
            "/docs",
            "/openapi.json",
        }
        inner = Gate(app, settings=settings, is_ending=self.ending)
        open_to = CORSMiddleware(
            inner, allow_origins=settings.cors, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        self.asgi = Access(open_to if settings.cors else inner, metrics=app.state.metrics, paths=paths)


def create_app(generators: Mapping[str, TextGenerator], settings: Settings | None = None) -> Access:
    """The application for these models, by name; they are closed when it ends.

    Raises:
        ConfigError: there are no models.
        BundleError: a model's chat template cannot be rendered.
    """
    return make_server(generators, settings or Settings()).asgi


def make_server(generators: Mapping[str, TextGenerator], settings: Settings) -> Server:
    """As `create_app`, with what ends it.

    Raises:
        ConfigError, BundleError: as `create_app`.
    """
    if not generators:
        raise ConfigError("There is no model to serve. Name at least one.")
    thread = DecodingThread()
    kept = settings.prefix_bytes // len(generators)
    served = {name: Served(name, generator, settings, thread, kept) for name, generator in generators.items()}
    for model in served.values():
        model.start()
    app = FastAPI(
        title="LLMBuilder",
        version=metadata.version("llmbuilder-runtime"),
        lifespan=_lifespan,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.models, app.state.settings = served, settings
    app.state.thread, app.state.ending, app.state.metrics = thread, Ending(), Metrics()
    app.state.metrics.models = {name: model.generator for name, model in served.items()}
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(errors.ApiError, errors.answer_api_error)
    app.add_exception_handler(LLMBuilderError, errors.answer_library_error)
    app.add_exception_handler(RequestValidationError, errors.answer_invalid)
    app.add_exception_handler(HTTPException, errors.answer_http_error)
    return Server(app, settings)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    for model in app.state.models.values():
        await model.aclose()
    app.state.thread.close()
