"""Clients that stream without a pause, and how fast tokens come."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from servers.wire import asked

_PROSE = Path(__file__).parents[1] / "data" / "moby-dick-1.txt"
_WORDS = 80
"""Of a prompt: about a hundred tokens."""


class Speed(NamedTuple):
    """What was measured over some seconds."""

    tokens_per_second: float
    first_token: float
    """Seconds from request to first token, the median."""
    first_token_p90: float
    between: float
    """Seconds between two tokens of a stream, the median."""
    requests: int
    """How many began to answer meanwhile."""


class Streams:
    """Asks a server for one text after the other, with any number of clients, and notes when tokens come."""

    def __init__(self, address: str, path: str, asking: Mapping[str, Any]) -> None:
        """Ask the server at ``address`` with these fields and a prompt."""
        self._address = address
        self._path = path
        self._asking = asking
        self._prompts = prompts()
        self._tokens: list[float] = []
        self._firsts: list[tuple[float, float]] = []
        self._gaps: list[tuple[float, float]] = []

    async def once(self) -> None:
        """Ask once: the first request to a process is slower."""
        await self._stream()

    async def measure(self, clients: int, ramp: float, seconds: float) -> Speed:
        """The speed over ``seconds``, after ``ramp`` seconds that do not count; what runs then is given up.

        Raises:
            Lost: a request failed.
        """
        begin = time.monotonic() + ramp
        running = [asyncio.create_task(self._go_on()) for _ in range(clients)]
        done, _ = await asyncio.wait(running, timeout=ramp + seconds, return_when=asyncio.FIRST_EXCEPTION)
        end = time.monotonic()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in done:
            task.result()
        return self._between(begin, end)

    async def _go_on(self) -> None:
        while True:
            await self._stream()

    async def _stream(self) -> None:
        last = begun = time.monotonic()
        is_first = True
        async with asked(
            self._address, self._path, {"prompt": next(self._prompts), **self._asking}
        ) as answer:
            async for event in answer.events(need_last=False):  # of transformers no stream has one
                if not any(choice.get("text") for choice in event.content.get("choices", ())):
                    continue
                (self._firsts if is_first else self._gaps).append((event.seconds, event.seconds - last))
                self._tokens.append(event.seconds)
                last, is_first = event.seconds, False
        if is_first:
            raise RuntimeError(f"The server at {self._address} has answered without a token since {begun}.")

    def _between(self, begin: float, end: float) -> Speed:
        firsts = _within(self._firsts, begin, end)
        return Speed(
            tokens_per_second=sum(begin <= at < end for at in self._tokens) / (end - begin),
            first_token=_median(firsts),
            first_token_p90=statistics.quantiles(firsts, n=10)[-1] if len(firsts) > 1 else float("nan"),
            between=_median(_within(self._gaps, begin, end)),
            requests=len(firsts),
        )


def prompts() -> Iterator[str]:
    """Beginnings of texts, the same each time, of which no two begin alike."""
    words = _PROSE.read_text(encoding="utf-8").split()
    random = Random(0)
    while True:
        start = random.randrange(len(words) - _WORDS)
        yield f"{random.randrange(10**6)}. {' '.join(words[start : start + _WORDS])}"


def _within(timed: Sequence[tuple[float, float]], begin: float, end: float) -> list[float]:
    return [value for at, value in timed if begin <= at < end]


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
