"""What is to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from llmbuilder.checks import check_count, is_list, shown
from llmbuilder.errors import ConfigError

MOST_ROWS = 1024
MOST_REPEATS = 1000
LEAST_WINDOW = 3
_MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    Raises:
        ConfigError: a number out of its range.
    """

    rows: Sequence[int] = (1, 8)
    """Numbers of prompts that are continued at once, each measured."""
    prompt_tokens: int = 512
    """Tokens of each prompt, at least 1."""
    new_tokens: int = 64
    """Tokens that each is continued with, at least 2."""
    repeat: int = 3
    """Runs of each number of rows, after one that does not count."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        if not is_list(self.rows) or not self.rows:
            raise ConfigError(
                f"rows must be a list of whole numbers, such as [1, 8], got {shown(self.rows)}."
            )
        for rows in self.rows:
            check_count("An entry of rows", rows, most=MOST_ROWS)
        check_count("prompt_tokens", self.prompt_tokens, most=_MOST_TOKENS)
        check_count("new_tokens", self.new_tokens, 2, _MOST_TOKENS)
        check_count("repeat", self.repeat, most=MOST_REPEATS)

    def within(self, window: int) -> Self:
        """The same with fewer tokens, where a model's window holds no more.

        Raises:
            ConfigError: it holds less than a prompt of one token and two new ones.
        """
        if window < LEAST_WINDOW:
            raise ConfigError(
                f"The model's window of {window} tokens is too small to measure: a prompt of one token and two new "
                f"ones take {LEAST_WINDOW}. Export the model with a larger --max-context."
            )
        new = min(self.new_tokens, max(2, window // 2))
        return replace(self, new_tokens=new, prompt_tokens=min(self.prompt_tokens, window - new))
