"""Clients that ask a server for a while, some of them badly, and what they find."""

import asyncio
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

from servers.cases import BAD, CHATS, Case, texts_of
from servers.wire import Lost, asked

PATIENCE = 300.0
"""Seconds after which an answer counts as lost."""
_RETRY_SECONDS = 1.0
"""Before a client that is told to come again does; how often that was shows in the statuses."""
_SLOW_PAUSE = 0.1
_BAD, _GONE, _SLOW, _STREAM = 0.05, 0.11, 0.14, 0.6
"""Shares of manners, added up: wrong requests, clients that go, slow readers, streams; the rest reads whole answers."""
_ENDLESS = {"max_tokens": 2000, "context_overflow": "slide", "early_stopping": False}


class BusyError(Exception):
    """The server has told a client to come again."""


class Found:
    """What clients found."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.answers: Counter[str] = Counter()
        """How many of each manner."""
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []
        """Requests without their answer, or with another one than they should have."""
        self.texts: defaultdict[int, Counter[tuple[str, ...]]] = defaultdict(Counter)
        """By the number of the case, how often it gave which texts."""
        self.gaps: list[float] = []
        """Seconds between parts of a stream."""
        self.first: list[float] = []
        """Seconds to the first part of one."""

    def gap(self, share: float) -> float:
        """The gap, in seconds, that this share of all stays below."""
        return quantile(self.gaps, share)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of all, in hundredths, stays below; nan of fewer than two."""
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]


class Clients:
    """Asks a server for cases, by any number of tasks at once."""

    def __init__(self, address: str, cases: Sequence[Case]) -> None:
        """Ask the server at ``address``."""
        self._address = address
        self._cases = cases
        self.found = Found()

    async def run(self, count: int, seconds: float) -> None:
        """Ask with so many clients for so long, and wait for all answers."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._visit(Random(f"client {number}"), until) for number in range(count)))

    async def _visit(self, random: Random, until: float) -> None:
        while time.monotonic() < until:
            number = random.randrange(len(self._cases))
            chance = random.random()
            manner = "bad" if chance < _BAD else "gone" if chance < _GONE else self._cases[number].kind
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._ask_until_answered(random, number, chance)
            except (Lost, TimeoutError) as error:
                self.found.lost.append(f"{manner}: {type(error).__name__}: {error}"[:300])
            self.found.answers[manner] += 1

    async def _ask_until_answered(self, random: Random, number: int, chance: float) -> None:
        while True:
            try:
                await self._ask(random, number, chance)
            except BusyError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _ask(self, random: Random, number: int, chance: float) -> None:
        case = self._cases[number]
        if chance < _BAD:
            await self._ask_badly(*random.choice(BAD))
        elif chance < _GONE:
            await self._go(random, streams=chance < (_BAD + _GONE) / 2)
        elif chance < _STREAM and case.streams:
            texts = await self._stream(case, slow=chance < _SLOW)
            self.found.texts[number][tuple(texts)] += 1
        else:
            async with asked(self._address, case.path, case.sent) as answer:
                content = await answer.whole()
                self._check(answer.status, 200, content)
            self.found.texts[number][tuple(texts_of(case.path, content))] += 1

    async def _ask_badly(self, path: str, body: Any, status: int) -> None:
        async with asked(self._address, path, body) as answer:
            self._check(answer.status, status, await answer.whole())

    async def _go(self, random: Random, *, streams: bool) -> None:
        """Ask for a long text, and go before it ends, often before it begins."""
        body = {"prompt": "On and on", "seed": 1, "stream": streams, **_ENDLESS}
        try:
            async with (
                asyncio.timeout(2 * random.random()),
                asked(self._address, "/v1/completions", body) as answer,
            ):
                self._check(answer.status, 200, None)
                async for _ in answer.events():
                    pass
        except TimeoutError:
            return

    async def _stream(self, case: Case, *, slow: bool) -> list[str]:
        begun, last = time.monotonic(), None
        text = ""
        asking = {**case.sent, "stream": True} | ({"logprobs": 5} if slow and case.path != CHATS else {})
        async with asked(self._address, case.path, asking, slow=slow) as answer:
            if answer.status != 200:
                self._check(answer.status, 200, await answer.whole())
            self.found.statuses[200] += 1
            async for event in answer.events(_SLOW_PAUSE if slow else 0.0):
                part = _part(case, event.content)
                text += part
                if part and not slow:
                    times, since = (self.found.first, begun) if last is None else (self.found.gaps, last)
                    times.append(event.seconds - since)
                    last = event.seconds
        return [text.strip() if case.path == CHATS else text]

    def _check(self, status: int, expected: int, content: Any) -> None:
        self.found.statuses[status] += 1
        if status == 429:
            raise BusyError
        if status != expected:
            raise Lost(f"{status} instead of {expected}: {content}")


def _part(case: Case, content: Any) -> str:
    (choice,) = content["choices"]
    return str((choice["delta"].get("content") or "") if case.path == CHATS else choice["text"])
