"""The texts that one request asks for, on their way."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.completion import Completion, FinishReason, Piece
from llmbuilder.decoding.sampling import TokenLogprobs
from llmbuilder.generator import PromptLike
from llmbuilder.scheduling.answering import Answering
from llmbuilder_server.answers import Usage
from llmbuilder_server.metrics import Metrics
from llmbuilder_server.served import Served


class Part(NamedTuple):
    """What came of one text."""

    number: int
    """Number of the text among all of the request."""
    prompt: str
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] | None
    finish_reason: FinishReason | None


class Job:
    """Prompts of one request that are being continued, ``n`` texts for each. An async context manager, which ends it.

    Greedy texts are all equal, so one is computed and given ``n`` times.
    """

    def __init__(self, model: Served, metrics: Metrics, n: int, salt: str) -> None:
        """Begin with no prompt."""
        self._model = model
        self._metrics = metrics
        self._n = n
        self._salt = salt
        self._copies = 1
        self._answerings: list[Answering] = []
        self._stack = AsyncExitStack()
        self._begun = time.monotonic()
        self.usage = Usage()

    async def start(self, prompts: Sequence[PromptLike], options: Mapping[str, Any]) -> None:
        """Let all prompts join.

        Raises:
            LLMBuilderError: one cannot be continued; none is, then.
        """
        config = GenerationConfig.merge(self._model.generator.config, options)
        if not config.do_sample and config.num_beams == 1:
            self._copies = self._n
        rows = self._n // self._copies
        for prompt in prompts:
            answering = await self._model.generator.start(
                prompt, config, salt=self._salt, num_return_sequences=rows
            )
            await self._stack.enter_async_context(answering)
            self._answerings.append(answering)
            self.usage.prompt += len(answering.prompt.ids)

    async def parts(self) -> AsyncIterator[list[Part]]:
        """What comes, in the order in which it does.

        Raises:
            LLMBuilderError: what ended a text.
        """
        watch = self._metrics.watch(self._model.name, self.usage.prompt, self._begun)
        async for number, pieces in _merged(self._answerings):
            parts = [part for piece in pieces for part in self._copied(number, piece)]
            watch.note(parts)
            self.usage.cached = sum(answering.cached_tokens for answering in self._answerings)
            self.usage.completion += sum(len(part.ids) for part in parts)
            yield parts

    async def completions(self) -> list[tuple[str, Completion]]:
        """All texts, in order, each with its prompt.

        Raises:
            LLMBuilderError: what ended one.
        """
        async for _ in self.parts():
            pass
        return [
            (answering.prompt.text, completion)
            for answering in self._answerings
            for completion in (await answering.completions()) * self._copies
        ]

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""
        await self._stack.aclose()

    def _copied(self, number: int, piece: Piece) -> list[Part]:
        first = number * self._n
        text = self._answerings[number].prompt.text
        found = (text, piece.text, piece.token_ids, piece.logprobs, piece.finish_reason)
        if self._copies == 1:
            return [Part(first + piece.sequence, *found)]
        return [Part(first + copy, *found) for copy in range(self._n)]


async def _merged(answerings: Sequence[Answering]) -> AsyncIterator[tuple[int, list[Piece]]]:
    """Pieces of several answers as they come, each with the number of its answer."""
    if len(answerings) == 1:
        async for pieces in answerings[0].pieces():
            yield 0, pieces
        return
    waiting = {
        asyncio.ensure_future(anext(pieces, None)): (number, pieces)
        for number, pieces in enumerate(answering.pieces() for answering in answerings)
    }
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number, rest = waiting.pop(task)
                came = task.result()
                if came is not None:
                    waiting[asyncio.ensure_future(anext(rest, None))] = number, rest
                    yield number, came
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
