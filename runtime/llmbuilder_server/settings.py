"""What a server allows, and to whom."""

import ipaddress
from dataclasses import dataclass

from llmbuilder.checks import check_count
from llmbuilder.engine.limits import available_memory
from llmbuilder.errors import ConfigError

_FEW_BYTES = 256 << 20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server allows. Keyword-only, checked when made.

    Raises:
        ConfigError: a number that makes no sense, or an address that others reach without a key.
    """

    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    """Of which clients must send one as ``Authorization: Bearer``; none: nothing."""
    share_prefixes: bool = False
    """Whether clients with different keys share beginnings of prompts."""
    no_auth: bool = False
    """Whether others than this machine may come without a key."""
    host_names: tuple[str, ...] = ()
    """Names, besides those of loopback, by which clients may call this server."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may read answers."""
    max_rows: int = 32
    """Most sequences of a model decoded at once."""
    max_waiting: int = 256
    """Most requests to a model that wait."""
    prefix_cache: int | None = None
    """Bytes of beginnings of prompts that are kept, of all models; None: an eighth of the memory that is free."""
    waiting_seconds: float = 60.0
    """Longest wait of a request."""
    running_seconds: float = 600.0
    """Longest time that a text may take; it ends then with what it has."""
    grace_seconds: float = 30.0
    """Time for what runs when the server is told to end."""
    max_body: int = 8 << 20
    """Bytes of a request's body."""
    max_bodies: int = 64 << 20
    """Bytes of the bodies of all requests that are being answered."""
    max_connections: int = 1024
    """Connections at once; more are answered 503 by `llmb serve`, without being read."""
    body_seconds: float = 30.0
    """Longest time that a client may take to send it."""
    max_choices: int = 128
    """Texts that a request may ask for: prompts times n."""
    max_stops: int = 64
    """Stop strings of a request."""
    max_biases: int = 1024
    """Entries of a request's logit_bias."""
    max_schema: int = 64 << 10
    """Characters of a JSON schema, or of all tools."""
    max_tools: int = 128
    """Tools of a request."""
    schema_seconds: float = 10.0
    """Longest time that compiling one may take."""

    def __post_init__(self) -> None:
        """Check it all."""
        for name in (
            "rows",
            "body",
            "bodies",
            "connections",
            "choices",
            "stops",
            "biases",
            "schema",
            "tools",
        ):
            check_count(f"max_{name}", getattr(self, f"max_{name}"))
        check_count("max_waiting", self.max_waiting, 0)
        if self.prefix_cache is not None:
            check_count("prefix_cache", self.prefix_cache, 0)
        if not all(key and key.isascii() and key.isprintable() for key in self.api_keys):
            raise ConfigError("An API key must be printable ASCII, at least a character. Choose another.")
        if not self.api_keys and not self.no_auth and not is_loopback(self.host):
            raise ConfigError(
                f"Anybody who reaches {self.host} could use this server. Set --api-key or LLMB_API_KEY, or say "
                "--no-auth."
            )

    @property
    def prefix_bytes(self) -> int:
        """Bytes of beginnings that are kept: a quarter of what a cache may take, if nothing else is said."""
        if self.prefix_cache is not None:
            return self.prefix_cache
        free = available_memory()
        return _FEW_BYTES if free is None else free // 8

    @property
    def known_hosts(self) -> frozenset[str]:
        """Names by which clients may call, in lower case."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(name.lower() for name in (*LOOPBACK_NAMES, own, *self.host_names))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
