"""`AsyncTextGenerator`: texts for asyncio programs, any number at once in one continuous batch."""

import asyncio
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, Unpack

from llmbuilder import forking
from llmbuilder.checks import StrPath, check_count
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Completion, Device, Engine, PromptLike, TextGenerator, named
from llmbuilder.overrides import GenerationOptions
from llmbuilder.scheduling.answering import Answering
from llmbuilder.scheduling.lane import Lane
from llmbuilder.scheduling.prefixes import keep
from llmbuilder.scheduling.request import Limits
from llmbuilder.scheduling.thread import DecodingThread

DEFAULT_ROWS = 8


class ScheduledGenerator:
    """Generates texts for any number of tasks with a generator and a thread made elsewhere, which it leaves open.

    An async context manager.
    """

    def __init__(self, generator: TextGenerator, limits: Limits, thread: DecodingThread) -> None:
        """Begin without a request."""
        self._generator = generator
        self._limits = limits
        self._thread = thread
        self._lane: Lane | None = None
        self._lock = threading.Lock()
        self._closed = False
        forking.tell(self)

    def __repr__(self) -> str:
        """Which model it generates with, and for how many."""
        running, waiting = self.load
        return named(self, self._generator, f"{running} running, {waiting} waiting")

    @property
    def generator(self) -> TextGenerator:
        """What it generates with."""
        return self._generator

    @property
    def config(self) -> GenerationConfig:
        """The options of a call that names none."""
        return self._generator.config

    @property
    def load(self) -> tuple[int, int]:
        """How many requests run, and how many wait."""
        lane = self._lane
        return (0, 0) if lane is None else lane.load

    async def generate(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> str:
        """Continue ``prompt`` and return the text.

        Raises:
            ConfigError, ContextOverflowError: as `TextGenerator.generate`.
            BusyError: as many requests wait as may.
        """
        async with await self.start(prompt, one_answer(self._merge(config, overrides))) as answering:
            (completion,) = await answering.completions()
            return completion.text

    async def stream(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> AsyncIterator[str]:
        """Continue ``prompt``, yielding text as soon as it is certain. Closing the iterator frees the rows.

        Raises:
            ConfigError, ContextOverflowError, BusyError: as `generate`; beam search, which cannot stream.
        """
        merged = one_answer(self._merge(config, overrides))
        if merged.num_beams > 1:
            raise ConfigError("Beam search knows its text only at the end and cannot stream: use generate().")
        async with await self.start(prompt, merged) as answering:
            if merged.return_full_text:
                yield answering.prompt.text
            async for pieces in answering.pieces():
                for piece in pieces:
                    if piece.text:
                        yield piece.text

    async def complete(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> list[Completion]:
        """Continue a prompt ``num_return_sequences`` times and report everything about each continuation.

        Raises:
            ConfigError, ContextOverflowError, BusyError: as `generate`.
        """
        async with await self.start(prompt, config, **overrides) as answering:
            return await answering.completions()

    async def start(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        *,
        salt: str = "",
        **overrides: Unpack[GenerationOptions],
    ) -> Answering:
        """Let a prompt join the others; read its pieces as they come, and its completions at the end.

        Where beginnings of prompts are kept it shares them with others of the same ``salt``, which changes no bit.

        Raises:
            ConfigError, ContextOverflowError, BusyError: as `generate`.
        """
        lane = self._open()
        # Encoding, and constraints, must hold up neither the event loop nor the thread that decodes.
        group = await asyncio.to_thread(self._generator.group, prompt, self._merge(config, overrides))
        keep(group, salt)
        return Answering(lane, group)

    async def aclose(self) -> None:
        """End what runs with a `ConfigError`; closing again does nothing."""
        with self._lock:
            self._closed, lane = True, self._lane
        if lane is not None:
            lane.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    def after_fork(self) -> None:
        """Begin anew in a child, which has no thread that decodes."""
        self._lock = threading.Lock()
        self._lane = None

    def _merge(self, config: GenerationConfig | None, overrides: GenerationOptions) -> GenerationConfig:
        return GenerationConfig.merge(self._generator.config, config, overrides)

    def _open(self) -> Lane:
        with self._lock:
            if self._closed:
                raise ConfigError("This AsyncTextGenerator is closed. Make a new one.")
            if self._lane is None:
                self._lane = self._thread.lane(self._generator, self._limits)
            return self._lane


class AsyncTextGenerator(ScheduledGenerator):
    """Generates texts with one model for any number of tasks, which share a continuous batch.

    Each text is, bit for bit, what `TextGenerator` gives its prompt alone. A thread decodes; tasks of any event loop,
    and of several at once, wait for it without blocking theirs. Cancelling a task frees its rows. An async context
    manager.
    """

    def __init__(
        self,
        model_path: StrPath | Engine,
        tokenizer_path: StrPath | None = None,
        *,
        device: Device = "auto",
        threads: int | None = None,
        config: GenerationConfig | None = None,
        max_rows: int = DEFAULT_ROWS,
        max_waiting: int | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        """Open a bundle, or the bundle made from a checkpoint.

        Args:
            model_path: as of `TextGenerator`, like the next three.
            tokenizer_path: the tokenizer that the bundle must have been exported with.
            device: where it runs.
            threads: CPU threads.
            config: options for all calls.
            max_rows: most sequences decoded at once; others wait for them, in the order in which they came.
            max_waiting: most requests that wait; None: any number.
            overrides: options by name, over those of config.

        Raises:
            ModelNotFoundError, BundleError, TokenizerError, DeviceError: see their docstrings.
            ConfigError: options, or numbers, that cannot be used.
        """
        check_count("max_rows", max_rows)
        if max_waiting is not None:
            check_count("max_waiting", max_waiting, 0)
        generator = TextGenerator(
            model_path, tokenizer_path, device=device, threads=threads, config=config, **overrides
        )
        super().__init__(generator, Limits(max_rows=max_rows, max_waiting=max_waiting), DecodingThread())

    async def aclose(self) -> None:
        """End what runs with a `ConfigError`, and give the model back; closing again does nothing."""
        await super().aclose()
        await asyncio.to_thread(self._thread.close)
        self._generator.close()
