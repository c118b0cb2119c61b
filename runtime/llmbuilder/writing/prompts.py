"""What a model is given to write from: openings for base models, a system prompt and a request for chat models."""

from typing import Any

from llmbuilder.chat.forms import TemplateForm, ending_options
from llmbuilder.config import GenerationConfig
from llmbuilder.generator import PromptLike, TextGenerator
from llmbuilder.writing.styles import Style


class Asker:
    """Puts a task to one model in the form that suits it."""

    def __init__(self, generator: TextGenerator, style: Style) -> None:
        """Ask in ``style``.

        Raises:
            BundleError: the bundle's chat template cannot be rendered.
        """
        self._engine = generator.engine
        self._voice = style.voice
        template = self._engine.chat_template
        self._form = None if template is None else TemplateForm(self._engine, template)

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self._form is not None

    def ask(self, opening: str, request: str, begun: str) -> PromptLike:
        """A prompt that the model answers by continuing ``begun``.

        Args:
            opening: what comes before it for a base model.
            request: what a chat model is asked.
            begun: the text that has been written, in a chat the beginning of the model's answer; may be empty.
        """
        if self._form is None:
            return opening + begun
        asked = self._form.encode(self._voice, [], request)
        return [*asked, *self._engine.tokenizer.encode(begun, parse_special=False)]

    def endings(self, config: GenerationConfig) -> dict[str, Any]:
        """The options that end an answer, besides those of ``config``."""
        return {} if self._form is None else ending_options(self._form, self._engine, config)

    def close(self) -> None:
        """Free what asking takes."""
        if self._form is not None:
            self._form.close()
