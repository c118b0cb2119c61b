"""What a model is given to write from: openings for base models, a system prompt and a request for chat models."""

from llmbuilder.generator import TextGenerator
from llmbuilder.groups import PromptLike
from llmbuilder.writing.styles import Style


class Asker:
    """Puts a task to one model in the form that suits it."""

    def __init__(self, generator: TextGenerator, style: Style) -> None:
        """Ask in ``style``."""
        self._style = style
        self._generator = generator
        self.is_chat = False

    def ask(self, opening: str, request: str, begun: str) -> PromptLike:
        """A prompt that the model answers by continuing ``begun``.

        Args:
            opening: what comes before it for a base model.
            request: what a chat model is asked.
            begun: the text that has been written; may be empty.
        """
        return opening + begun
