"""`ChatInterface`: a conversation with a model, of which each turn computes only what is new."""

import bisect
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from llmbuilder import logs
from llmbuilder.chat.forms import ending_options, make_form
from llmbuilder.chat.window import oldest_kept
from llmbuilder.checks import StrPath, check_text
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.errors import ContextOverflowError
from llmbuilder.generator import (
    Device,
    TextGenerator,
    TextLimit,
    named,
    opened,
    remembering,
)
from llmbuilder.overrides import GenerationOptions
from llmbuilder.sessions.conversation import Conversation, Turn, read_turns
from llmbuilder.sessions.partner import Remembering

if TYPE_CHECKING:
    from llmbuilder.filtering import OutputGate

_LOG = logs.logger(__name__)
_KNOWN_COSTS = 4096


class ChatInterface(Remembering, Closing):
    """Chats with one model. Also a context manager.

    A model with a chat template is talked to in its own form, any other in lines of ``System:``, ``User:`` and
    ``Assistant:``. What was computed of the last prompt is kept: a reply costs the new turn and the reply before it.
    When the window is full the oldest turns are left out, the system prompt never (see ``dropped_turns``). With
    ``truncate_prompt`` a message too long for the window keeps its end.
    """

    def __init__(
        self,
        model_path: StrPath | TextGenerator,
        tokenizer_path: StrPath | None = None,
        *,
        system_prompt: str | None = None,
        config: GenerationConfig | None = None,
        device: Device = "auto",
        threads: int | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        """Open a model.

        Args:
            model_path: as of `TextGenerator`, like tokenizer_path, device and threads; or a generator that is open
                already, which closing the chat closes.
            tokenizer_path: the tokenizer that the model must have.
            system_prompt: what the model is told before the conversation.
            config: options of all replies. ``max_length`` bounds conversation and reply together.
            device: where the model runs.
            threads: CPU threads.
            overrides: options by name, over those of config.

        Raises:
            ConfigError: options that cannot be used, or several sequences for one reply.
            BundleError: the model's chat template cannot be rendered.
        """
        super().__init__()
        with opened(model_path, tokenizer_path, device=device, threads=threads) as generator:
            self.system_prompt = None if system_prompt is None else check_text("system_prompt", system_prompt)
            self.config = one_answer(GenerationConfig.merge(generator.config, config, overrides))
            self.dropped_turns = 0
            """How many of the oldest turns the last reply did without."""
            engine, self._memory = remembering(generator.engine)
            self._owner = generator
            self._generator = TextGenerator(engine)
            self._form = make_form(engine)
            self._limit = TextLimit(engine.tokenizer, engine.context_length)
            self._cost = functools.lru_cache(_KNOWN_COSTS)(self._measure)

    def __repr__(self) -> str:
        """Which model it talks to."""
        return named(self, self._owner)

    @property
    def prefilled_tokens(self) -> int:
        """Tokens of prompts computed since the chat was opened, those kept from earlier prompts not counted."""
        return self._memory.prefilled

    def respond(
        self, user_input: str, conversation: Conversation = (), **overrides: Unpack[GenerationOptions]
    ) -> str:
        """Answer ``user_input`` after the turns of ``conversation``, which is not changed.

        The reply is the same, bit for bit, as if the whole conversation was computed afresh. Where ``conversation``
        differs from that of the last call, everything from the first difference on is computed.

        Args:
            user_input: what the user says now.
            conversation: earlier turns, each ``{"user": ..., "assistant": ...}``.
            overrides: options by name, over those of the chat.

        Raises:
            ContextOverflowError: the system prompt and ``user_input`` alone have more tokens than the window, or with
                ``truncate_prompt`` the system prompt leaves no room for a message and a reply.
        """
        return "".join(self.stream(user_input, conversation, **overrides))

    def stream(
        self, user_input: str, conversation: Conversation = (), **overrides: Unpack[GenerationOptions]
    ) -> Iterator[str]:
        """As `respond`, yielding the reply as it comes; that of a beam search, known at the end, in one piece."""
        config = GenerationConfig.merge(self.config, overrides) if overrides else self.config
        turns = read_turns(conversation)
        self._limit.check("user_input", check_text("user_input", user_input))
        self._limit.check("system_prompt", self.system_prompt or "")
        ids = self._fit(turns, user_input, config)
        endings = ending_options(self._form, self._generator.engine, config)
        running = self._generator.running(ids, config, return_full_text=False, **endings)
        return _trimmed(self._remembered(running))

    def start(
        self,
        conversation: StrPath | None = None,
        *,
        gate: "OutputGate | None" = None,
    ) -> None:
        """Chat in the terminal, or line by line where standard input is none, until ``/quit`` or the end of input.

        Args:
            conversation: JSON file of a conversation to go on with.
            gate: what each answer must pass. It is shown when it is whole, perhaps masked; one that is refused is told
                of and forgotten.

        Raises:
            ConfigError: the file holds no conversation.
        """
        from llmbuilder.sessions.dialog import run_session

        run_session(self, name="AI: ", conversation=conversation, gate=gate)

    def close(self) -> None:
        """Give the model back."""
        self._form.close()
        self._generator.close()
        self._owner.close()

    def _fit(self, turns: list[Turn], user: str, config: GenerationConfig) -> list[int]:
        """The prompt, of as many turns as leave room for a reply."""
        window = self._generator.engine.context_length
        limit = window if config.max_length is None else min(window, config.max_length)
        room = limit - min(config.max_new_tokens, limit // 2)
        if config.truncate_prompt:
            user = self._shorten(user, room)
        newest = len(self._form.encode(self.system_prompt, [], user))
        oldest = oldest_kept([*(self._cost(self.system_prompt, turn) for turn in turns), newest], room)
        ids = self._form.encode(self.system_prompt, turns[oldest:], user)
        # Costs do not add up where a template shortens old turns.
        while len(ids) > room and oldest < len(turns):
            oldest += 1
            ids = self._form.encode(self.system_prompt, turns[oldest:], user)
        self.dropped_turns = oldest
        if oldest:
            _LOG.info(
                "a conversation goes on without its oldest %d turns, for which there is no room", oldest
            )
        return ids

    def _shorten(self, user: str, room: int) -> str:
        """As much of a message's end as there is room for after the system prompt."""

        def fits(start: int) -> bool:
            return len(self._form.encode(self.system_prompt, [], user[start:])) <= room

        if fits(0):
            return user
        start = bisect.bisect_left(range(len(user)), True, key=fits)
        if start == len(user):
            raise ContextOverflowError(
                f"The system prompt leaves no room for a message within {room} tokens. Shorten it."
            )
        _LOG.info("a message of %d characters is cut to its last %d", len(user), len(user) - start)
        return user[start:]

    def _measure(self, system: str | None, turn: Turn) -> int:
        """Tokens that a turn adds to a conversation."""
        if self._limit.exceeded_by(len(turn.user) + len(turn.assistant)):
            return self._generator.engine.context_length
        once, twice = (len(self._form.encode(system, [turn] * count, turn.user)) for count in (1, 2))
        return twice - once


def _trimmed(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of a text without the white space around it."""
    begun, held = False, ""
    for piece in pieces:
        text = held + piece
        text = text if begun else text.lstrip()
        spoken = text.rstrip()
        held = text[len(spoken) :]
        if spoken:
            begun = True
            yield spoken
