"""A small HTTP client: it costs little beside the server that it measures, and may go or dawdle in the middle."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_SLOW_BUFFER = 4096
"""Bytes that the system takes for a client that reads slowly; as few as it allows."""
DONE = "[DONE]"


class Event(NamedTuple):
    """Part of an answer that streams."""

    content: Any
    """From JSON."""
    seconds: float
    """When it was read, on the monotonic clock."""


class Lost(Exception):  # noqa: N818 (what happened to a request)
    """An answer that did not come, or not to its end."""


class Answer:
    """The answer to a request, read as it is asked for."""

    def __init__(self, reader: asyncio.StreamReader, status: int, headers: Mapping[str, str]) -> None:
        """Read the body from ``reader``."""
        self.status = status
        self._reader = reader
        self._is_chunked = headers.get("transfer-encoding") == "chunked"

    async def whole(self) -> Any:
        """All of it, from JSON.

        Raises:
            Lost: it is no JSON, or has no end.
        """
        body = await self.text()
        try:
            return json.loads(body)
        except ValueError as error:
            raise Lost(f"{self.status} with {body[:200]!r}") from error

    async def text(self) -> str:
        """All of it, as it is.

        Raises:
            Lost: it has no end.
        """
        return b"".join([part async for part in self._parts()]).decode()

    async def events(self, pause: float = 0.0, *, need_last: bool = True) -> AsyncIterator[Event]:
        """Server-sent events up to the last, with a ``pause`` in seconds before each part of the body.

        Raises:
            Lost: the last does not come, though they ``need_last``; one that says an error.
        """
        held = b""
        async for part in self._parts(pause):
            now = time.monotonic()
            *lines, held = (held + part).split(b"\n")
            for line in lines:
                name, _, text = line.decode().strip().partition(": ")
                if text == DONE:
                    return
                if name == "data":
                    yield Event(_content(text), now)
        if need_last:
            raise Lost("a stream without its end")

    async def _parts(self, pause: float = 0.0) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(pause)
            size = int(await self._reader.readline() or b"-1", 16) if self._is_chunked else 1 << 16
            if size < 0:
                raise Lost("the server has closed the connection")
            part = await (self._reader.readexactly(size) if self._is_chunked else self._reader.read(size))
            if self._is_chunked:
                await self._reader.readline()
            if not part:
                return
            yield part


@asynccontextmanager
async def asked(
    address: str, path: str, body: Mapping[str, Any] | bytes | None = None, *, slow: bool = False
) -> AsyncIterator[Answer]:
    """The answer to a request of its own connection, which is closed at the end, whatever was read.

    Raises:
        Lost: there is none.
    """
    parts = urlsplit(address)
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    try:
        reader, writer = await asyncio.open_connection(sock=await _connected(parts, slow=slow), limit=1 << 16)
        try:
            writer.write(_head("GET" if body is None else "POST", path, parts.netloc, len(content)) + content)
            yield Answer(reader, *await _begun(reader))
        finally:
            writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error


async def _connected(parts: Any, *, slow: bool) -> socket.socket:
    connection = socket.socket()
    if slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _head(method: str, path: str, host: str, size: int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {size}"] if method == "POST" else []
    return "\r\n".join([*lines, "", ""]).encode()


async def _begun(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status = (await reader.readline()).split()
    if len(status) < 2:
        raise Lost("the server has closed the connection")
    headers = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip().lower()
    return int(status[1]), headers


def _content(text: str) -> Any:
    content = json.loads(text)
    if "error" in content:
        raise Lost(f"an error in a stream: {content['error']}")
    return content
