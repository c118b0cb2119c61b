"""Who may come in, and with what: checked before anything else reads a request."""

import asyncio
import contextlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmbuilder_server.errors import ApiError
from llmbuilder_server.settings import Settings

OPEN = frozenset(("/health", "/ready"))
"""What anybody may ask, by any name and without a key."""

SLOW = "slow_body"
_DISCARDED = 64 << 20
"""Bytes of a refused body that are read, and forgotten, before the answer."""


class Gate:
    """Refuses requests by their headers and the size of their body, and reads the body of those it lets in."""

    def __init__(self, app: ASGIApp, *, settings: Settings, is_ending: "Ending") -> None:
        """Stand before ``app``."""
        self._app = app
        self._settings = settings
        self._ending = is_ending
        self._held = 0
        """Bytes of the bodies of all requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        body = _Body()
        try:
            self._check(scope)
            if scope["method"] not in ("GET", "HEAD"):
                await self._read(receive, body)
                receive = body.replayed(receive)
        except ApiError as error:
            if scope["method"] not in ("GET", "HEAD") and error.code != SLOW:
                await self._discard(receive, body)
            await error.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)
        finally:
            self._held -= body.size

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_names(headers)
        scope.setdefault("state", {})["key"] = self._key_of(headers)
        if self._ending:
            raise ApiError(503, "The server is ending. Try again later.", code="ending", close=True)
        if scope["method"] in ("GET", "HEAD"):
            return
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise ApiError(
                415, "Send the body as Content-Type: application/json.", code="unsupported_media_type"
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self._settings.max_body:
            raise self._too_large()

    def _check_names(self, headers: Headers) -> None:
        """Pages of others must not come in by a name of theirs, nor through a browser's back door."""
        host = headers.get("host", "")
        if _name(host) not in self._settings.known_hosts:
            raise ApiError(
                400, "This server is not called that. Allow a name with --host-name.", code="unknown_host"
            )
        origin = headers.get("origin")
        if (
            origin is not None
            and origin not in self._settings.cors
            and urlsplit(origin).netloc.lower() != host.lower()
        ):
            raise ApiError(
                400,
                "Pages of other origins may not call this server. Allow one with --cors.",
                code="unknown_origin",
            )

    def _key_of(self, headers: Headers) -> int | None:
        """The number of the key that a request brings; None: it needs none."""
        if not self._settings.api_keys:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip().encode("latin-1")
        # Compared with all of them: the time must not tell which was nearly right.
        matches = [hmac.compare_digest(sent, key.encode()) for key in self._settings.api_keys]
        if kind.lower() != "bearer" or not any(matches):
            raise ApiError(
                401,
                "The API key is missing or wrong. Send it as Authorization: Bearer.",
                code="invalid_api_key",
            )
        return matches.index(True)

    async def _read(self, receive: Receive, body: "_Body") -> None:
        """Read all of a body, within the limits."""
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while (message := await receive())["type"] == "http.request":
                    body.is_whole = not message.get("more_body", False)
                    self._take(message.get("body", b""), body)
                    if body.is_whole:
                        return
        except TimeoutError:
            raise ApiError(400, "The body took too long to come.", code=SLOW, close=True) from None

    async def _discard(self, receive: Receive, body: "_Body") -> None:
        """Read the rest of a refused body, or much of it: who still sends when a connection ends sees no answer."""
        left = _DISCARDED
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.body_seconds):
                while left > 0 and not body.is_whole:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    body.is_whole = not message.get("more_body", False)

    def _take(self, part: bytes, body: "_Body") -> None:
        self._held += len(part)
        body.add(part)
        if body.size > self._settings.max_body:
            raise self._too_large()
        if self._held > self._settings.max_bodies:
            raise ApiError(
                429,
                "Too many large requests are being answered. Try again in a while.",
                code="overloaded",
                close=True,
            )

    def _too_large(self) -> ApiError:
        return ApiError(
            413, f"The body may have {self._settings.max_body} bytes.", code="body_too_large", close=True
        )


class Ending:
    """Whether the server takes no more requests."""

    def __init__(self) -> None:
        """It does."""
        self.begun = False

    def __bool__(self) -> bool:
        """Whether it ends."""
        return self.begun


class _Body:
    """A body, read in parts."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        self.is_whole = False
        """Whether nothing more of it comes."""

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self.size += len(part)

    def replayed(self, receive: Receive) -> Receive:
        """What gives the body once more, and then what comes after it."""
        body, self._parts = b"".join(self._parts), []
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again


def _name(host: str) -> str:
    """The name in a ``Host`` header, in lower case and without the port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
