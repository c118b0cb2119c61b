"""A process that serves: it listens, says where, and ends well."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn

from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder_server.app import Server, make_server
from llmbuilder_server.page import example
from llmbuilder_server.settings import Settings

_LAST_SECONDS = 2
"""For connections that are still open when everything else is done."""


def serve(
    generators: Mapping[str, TextGenerator], settings: Settings, tell: Callable[[str], None] = print
) -> None:
    """Serve models until a signal ends it: what runs may then go on for a while, and nothing new begins.

    Raises:
        ConfigError: the address cannot be listened at; there are no models.
        BundleError: a model's chat template cannot be rendered.
    """
    listening = _listen(settings)
    try:
        server = make_server(generators, settings)
        _log_to_stderr()
        address = _address(settings, listening)
        tell(f"Serving {', '.join(generators)} at {address} (documentation: {address}/docs). Try:")
        tell(f"  {example(address, next(iter(generators)), needs_key=bool(settings.api_keys))}")
        asyncio.run(_Process(server).serve([listening]))
    finally:
        listening.close()


class _Process(uvicorn.Server):
    """A server that goes on listening while it ends, to say that it does."""

    def __init__(self, server: Server) -> None:
        super().__init__(
            uvicorn.Config(
                server.asgi,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                limit_concurrency=server.settings.max_connections,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )
        self._ours = server
        self._until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second time at once."""
        if self._ours.ending or sig == getattr(signal, "SIGINT", None):
            super().handle_exit(sig, frame)
        else:
            self._until = time.monotonic() + self._ours.settings.grace_seconds
        self._ours.ending.begun = True

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over."""
        is_over = self._ours.asgi.active == 0 or time.monotonic() > self._until
        return await super().on_tick(counter) or (bool(self._ours.ending) and is_over)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"The server cannot listen at {settings.host}, port {settings.port}: {error}. Choose another with --port."
        ) from error
    return listening


def _address(settings: Settings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"


def _log_to_stderr() -> None:
    """One line for each answer; a log that cannot be written is no reason to end."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("llmbuilder_server")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
