"""Answers while the client is there: server-sent events, and whole ones, both given up when it goes."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmbuilder.errors import LLMBuilderError
from llmbuilder_server.answers import json_text
from llmbuilder_server.errors import translated

_Result = TypeVar("_Result")
DONE = "[DONE]"


class GoneError(Exception):
    """The client has closed its connection."""


async def while_there(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do ``work`` while the client is there.

    Raises:
        GoneError: it went; the work is cancelled.
    """
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise GoneError
    finally:
        for task in (working, going):
            task.cancel()
        await asyncio.gather(working, going, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Events as they come. Sending waits for the client: what comes meanwhile is sent together."""

    media_type = "text/event-stream"

    def __init__(self, first: list[Any], rest: AsyncIterator[list[Any]], kept: AsyncExitStack) -> None:
        """Send the ``first`` events and the ``rest``; then, or when the client goes, close what is ``kept``."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        """Answer."""
        async with self._kept:
            try:
                await while_there(receive, self._send(send))
            except (GoneError, OSError):
                return

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await send(_body(*map(json_text, self._first)))
            async for events in self._rest:
                await send(_body(*map(json_text, events)))
            await send(_body(DONE))
        except LLMBuilderError as error:
            await send(_body(json_text(translated(error).content)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _body(*events: str) -> dict[str, Any]:
    text = "".join(f"data: {event}\n\n" for event in events)
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
