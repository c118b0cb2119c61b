"""A line in the log for each answer, and a number for each request. Texts are never in it, nor keys."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmbuilder_server.metrics import Metrics

LOG = logging.getLogger("llmbuilder_server.access")
_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)
_OTHER = "(other)"


class Access:
    """Gives every request an id, its own if it brings one, and notes how it was answered."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        """Stand before ``app``; addresses that are not among ``paths`` are not written down."""
        self._app = app
        self._metrics = metrics
        self._paths = paths
        self.active = 0
        """Requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _ID.fullmatch(given) else uuid.uuid4().hex
        status, begun = 499, time.monotonic()

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        self.active += 1
        try:
            await self._app(scope, receive, numbered)
        finally:
            self.active -= 1
            path = scope["path"] if scope["path"] in self._paths else _OTHER
            self._metrics.count_answer(_method(scope), path, status)
            LOG.info("%s %s %d %.3f s %s", _method(scope), path, status, time.monotonic() - begun, name)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else _OTHER
