"""Who may come in, and with what: checked before anything else reads a request."""

import asyncio
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmbuilder_server.errors import ApiError
from llmbuilder_server.settings import Settings

OPEN = frozenset(("/health", "/ready"))
"""What anybody may ask, by any name and without a key."""


class Gate:
    """Refuses requests by their headers and the size of their body, and reads the body of those it lets in."""

    def __init__(self, app: ASGIApp, *, settings: Settings, is_ending: "Ending") -> None:
        """Stand before ``app``."""
        self._app = app
        self._settings = settings
        self._ending = is_ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                self._check(scope)
                if scope["method"] not in ("GET", "HEAD"):
                    receive = await self._read(receive)
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

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

    async def _read(self, receive: Receive) -> Receive:
        """All of the body, within the limits; what is returned gives it once more, and then what comes after it."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        break
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._settings.max_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise ApiError(400, "The body took too long to come.", code="slow_body", close=True) from None
        return _replayed(parts, receive)

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


def _replayed(parts: Iterable[bytes], receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _name(host: str) -> str:
    """The name in a ``Host`` header, in lower case and without the port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
