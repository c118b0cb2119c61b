"""What a peer is, and what the program and its workers say to each other.

Standard library only: the environments of peers use it, and its import counts in every cold start alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

THREADS = 2


class Room(NamedTuple):
    """What an engine is opened for."""

    model: Path
    tokens: int = 256
    """Most tokens of a row."""
    rows: int = 1
    tokenizer: bool = False
    """Whether it is to be all that a user has, for texts; or as little as continues given ids."""
    logits: bool = False
    """Whether the logits of whole prompts will be asked for."""


class Run(NamedTuple):
    """Seconds of one greedy run."""

    first: float
    """Until every row has its first token."""
    rest: float
    """From then until every row has all its tokens."""


class Engine(Protocol):
    """A loaded model of ours or of a peer."""

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """Continue prompts of equal lengths by ``new`` tokens each, greedily and past any end token."""
        ...

    def first_text(self, text: str) -> str:
        """The text of one token that follows ``text``; only where the room has a tokenizer."""
        ...

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Logits [length, V] of every position; only where the room says so."""
        ...


class LeftOutError(Exception):
    """A configuration that cannot be had here, and why."""


class Peer(Protocol):
    """A module of this package: how one engine is installed, given the weights, and run."""

    @property
    def CONFIGURATIONS(self) -> Sequence[str]:  # noqa: N802 (a module's constant)
        """Names of what can be prepared."""
        ...

    def install(self) -> Path:
        """Make the environment unless it is there, and return its Python."""
        ...

    def prepare(self, configuration: str, source: Path) -> Path:
        """Convert the Hugging Face directory ``source`` unless that is done, and return what is to be loaded.

        Raises:
            LeftOutError: it cannot be had.
        """
        ...

    def files(self, model: Path) -> Sequence[Path]:
        """Files that hold the graph and the weights."""
        ...

    def variables(self) -> Mapping[str, str]:
        """Environment variables of its workers."""
        ...

    def open_engine(self, room: Room) -> Engine:
        """Load; runs in a worker of the peer's environment."""
        ...

    def version(self) -> str:
        """Name and release; runs in a worker."""
        ...


class Request(NamedTuple):
    """One task for a worker, which is a process of its own."""

    peer: str
    task: str
    model: str
    ids: Sequence[int] = ()
    text: str = ""
    lengths: Mapping[str, int] = {}
    """Tokens of prompts, and how often each is run after one run that does not count."""
    rows: Mapping[str, int] = {}
    """Numbers of rows, and how often."""
    new: int = 64
    windows: Mapping[str, Sequence[Sequence[int]]] = {}
    reference: str = ""
    """Folder of the float32 logits, an array file for each text and window."""


Answer = dict[str, Any]
