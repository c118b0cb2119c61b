"""`InteractiveGenerator` and `interactive_cli`: prompts typed one after the other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.checks import StrPath
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Device, TextGenerator, named, opened
from llmbuilder.overrides import GenerationOptions
from llmbuilder.sessions.dialog import run_session
from llmbuilder.sessions.partner import Remembering, Turns

if TYPE_CHECKING:
    from llmbuilder.filtering import OutputGate


class InteractiveGenerator(Closing):
    """Answers prompts that somebody types. Also a context manager.

    A model with a chat template is asked in its own form, and remembers what was said in a session. Any other model
    continues each prompt by itself.
    """

    def __init__(
        self,
        model_path: StrPath | TextGenerator,
        tokenizer_path: StrPath | None = None,
        *,
        config: GenerationConfig | None = None,
        device: Device = "auto",
        threads: int | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        """Open a model; see `ChatInterface` for the arguments and errors."""
        with opened(model_path, tokenizer_path, device=device, threads=threads) as generator:
            partner = _Continuing if generator.engine.chat_template is None else ChatInterface
            self._generator = generator
            self._partner: ChatInterface | _Continuing = partner(generator, config=config, **overrides)

    def __repr__(self) -> str:
        """Which model answers, and how."""
        way = "chats" if isinstance(self._partner, ChatInterface) else "continues each prompt"
        return named(self, self._generator, way)

    def generate(self, prompt: str, **overrides: Unpack[GenerationOptions]) -> str:
        """Answer one prompt, whatever was asked before."""
        return "".join(self._partner.stream(prompt, **overrides))

    def start_session(self, *, gate: "OutputGate | None" = None) -> None:
        """Answer what is typed, streaming, until ``quit``, ``exit``, ``/quit`` or the end of input.

        On a terminal with history, completion and the commands that ``/help`` lists; from a pipe line by line. What
        ``gate`` is for, says `ChatInterface.start`.
        """
        if isinstance(self._partner, ChatInterface):
            self._partner.start(gate=gate)
        else:
            run_session(self._partner, gate=gate)

    def close(self) -> None:
        """Give the model back."""
        self._partner.close()


class _Continuing(Remembering):
    """Continues each prompt as it stands."""

    dropped_turns = 0

    def __init__(
        self,
        generator: TextGenerator,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        super().__init__()
        self.config = one_answer(GenerationConfig.merge(generator.config, config, overrides))
        self._generator = generator

    @property
    def system_prompt(self) -> str | None:
        return None

    @system_prompt.setter
    def system_prompt(self, text: str | None) -> None:
        if text is not None:
            raise ConfigError(
                "This model has no chat template: it continues prompts, and has no system prompt. "
                "Say it in the prompt itself."
            )

    def stream(
        self,
        user_input: str,
        conversation: Turns | None = None,  # noqa: ARG002
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[str]:
        return self._remembered(self._generator.running(user_input, self.config, **overrides))

    def close(self) -> None:
        self._generator.close()


def interactive_cli(
    model_path: StrPath,
    tokenizer_path: StrPath | None = None,
    *,
    config: GenerationConfig | None = None,
    device: Device = "auto",
    threads: int | None = None,
    gate: "OutputGate | None" = None,
    **overrides: Unpack[GenerationOptions],
) -> None:
    """Start a session of `InteractiveGenerator`, whose methods describe the arguments; returns when it ends."""
    with InteractiveGenerator(
        model_path, tokenizer_path, config=config, device=device, threads=threads, **overrides
    ) as generator:
        generator.start_session(gate=gate)
