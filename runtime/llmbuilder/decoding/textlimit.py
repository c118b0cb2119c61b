"""How long a text may be for a window of tokens, known before the text is encoded."""

from functools import cached_property

from llmbuilder.errors import ContextOverflowError
from llmbuilder.tokenizer import Tokenizer

_PER_TOKEN = 64
"""Characters that any token is taken to cover: tokenizers may read a run of spaces, or an unknown word, as one."""


class TextLimit:
    """The longest text that is worth encoding for a model's window: a text of megabytes is refused at once."""

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        """Know the longest token of ``tokenizer`` once a text is long enough to ask for it."""
        self._tokenizer = tokenizer
        self._window = window

    def check(self, name: str, text: str) -> None:
        """Refuse a text of more characters than a window of the longest tokens has.

        Raises:
            ContextOverflowError: the message begins with ``name`` and counts characters.
        """
        if self.exceeded_by(len(text)):
            raise ContextOverflowError(
                f"{name} has {len(text)} characters, but the model's window of {self._window} tokens never holds more "
                f"than {self._most}. Cut it to its end; truncate_prompt does so with shorter ones only."
            )

    def exceeded_by(self, characters: int) -> bool:
        """Whether so many characters are more than any text of the window has."""
        return characters > _PER_TOKEN * self._window and characters > self._most

    @cached_property
    def _most(self) -> int:
        longest = max((len(piece) for piece in self._tokenizer.pieces()), default=0)
        return self._window * max(_PER_TOKEN, longest)
