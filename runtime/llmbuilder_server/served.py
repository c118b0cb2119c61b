"""A model as the server has it: its name, what generates, and what turns requests into prompts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from queue import Empty, LifoQueue
from typing import Any, Protocol, TypeVar

from llmbuilder.chat.forms import Form, ending_options, make_form
from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.decoding.textlimit import TextLimit
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Score, TextGenerator
from llmbuilder.scheduling.asynchronous import ScheduledGenerator
from llmbuilder.scheduling.request import Limits
from llmbuilder.scheduling.thread import DecodingThread
from llmbuilder_server.compiling import Compiler
from llmbuilder_server.settings import Settings
from llmbuilder_server.tools.forms import CallForm, find_form

_FORMS = 2
"""Processes that render a model's template: one that takes long holds up chats only, and not the next."""
_Result = TypeVar("_Result")


class Sayable(Protocol):
    """A conversation up to where the assistant answers."""

    @property
    def text(self) -> str:
        """What is said, to see at once whether it is too long."""
        ...

    def encode(self, form: Form) -> list[int]:
        """The prompt."""
        ...


class Served:
    """A model that is served."""

    def __init__(
        self,
        name: str,
        generator: TextGenerator,
        settings: Settings,
        thread: DecodingThread,
        prefix_bytes: int,
    ) -> None:
        """Serve ``generator`` as ``name``, decoding in ``thread``, keeping ``prefix_bytes`` of beginnings."""
        self.name = name
        self.settings = settings
        self.created = int(time.time())
        limits = Limits(
            max_rows=settings.max_rows,
            max_waiting=settings.max_waiting,
            waiting_seconds=settings.waiting_seconds,
            prefix_bytes=prefix_bytes,
        )
        self.generator = ScheduledGenerator(generator, limits, thread)
        self.engine = generator.engine
        self.tokenizer = generator.tokenizer
        self._limit = TextLimit(generator.tokenizer, generator.engine.context_length)
        self.calls: CallForm | str = "the model was not tried out"
        """The form in which the model calls tools, or why it calls none."""
        self._forms: LifoQueue[Form] = LifoQueue()
        self._made: list[Form] = []
        self._renderers = ThreadPoolExecutor(_FORMS, "llmbuilder rendering")
        self._compiler = Compiler(settings.schema_seconds)
        self._scorers = ThreadPoolExecutor(1, "llmbuilder scoring")

    @property
    def window(self) -> int:
        """Tokens of the model's window."""
        return self.engine.context_length

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of every token."""
        return self.tokenizer.pieces()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the model can say, for constraints."""
        return Vocabulary(self.pieces[: self.engine.usable_vocab])

    def start(self) -> None:
        """Make what the first request would wait for: a form, in the process of its template.

        Raises:
            BundleError: the model's chat template cannot be rendered.
        """
        form = self._make_form()
        self._forms.put(form)
        try:
            self.calls = find_form(form, self.tokenizer)
        except ConfigError as error:
            self.calls = str(error)

    async def render(self, said: Sayable) -> list[int]:
        """The prompt of a conversation.

        Raises:
            ContextOverflowError: it has more characters than any text of the window.
            ConfigError, BundleError: the template refuses it.
        """
        await asyncio.to_thread(self._limit.check, "The conversation", said.text)
        return await asyncio.get_running_loop().run_in_executor(self._renderers, self._render, said)

    async def compile(self, key: str, make: Callable[[Vocabulary], _Result]) -> _Result:
        """Make a constraint of the model's vocabulary, or find the one that was made for the same ``key``.

        Raises:
            TimeoutError: that takes longer than the server allows.
        """
        return await self._compiler.get(key, lambda: make(self.vocabulary))

    async def score(self, prompt: str | Sequence[int], top: int) -> Score:
        """How likely the model finds a prompt, with the ``top`` likeliest tokens at each place; one after the other.

        Raises:
            ConfigError, ContextOverflowError: as `TextGenerator.score`.
        """
        score = partial(self.generator.generator.score, prompt, top=top)
        return await asyncio.get_running_loop().run_in_executor(self._scorers, score)

    def chat_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options with the ends of a turn besides."""
        merged = GenerationConfig.merge(self.generator.config, options)
        return options | ending_options(self._made[0], self.engine, merged)

    async def aclose(self) -> None:
        """End what runs."""
        await self.generator.aclose()
        self._compiler.close()
        for pool in (self._renderers, self._scorers):
            pool.shutdown(wait=False, cancel_futures=True)
        for form in self._made:
            await asyncio.to_thread(form.close)

    def _render(self, said: Sayable) -> list[int]:
        form = self._take_form()
        try:
            return said.encode(form)
        finally:
            self._forms.put(form)

    def _take_form(self) -> Form:
        """A form that nobody uses: there are as many as threads that render."""
        try:
            return self._forms.get_nowait()
        except Empty:
            return self._make_form()

    def _make_form(self) -> Form:
        form = make_form(self.engine)
        self._made.append(form)
        return form
