"""One filter for all texts of a run: each passes, perhaps masked, or is refused."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.filtering.output_filter import OutputFilter
from llmbuilder.filtering.settings import FilterSettings


@dataclass(frozen=True, slots=True)
class OutputGate:
    """Settings of `OutputFilter` that hold for many texts, checked when made.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """

    settings: Mapping[str, Any]
    words: Callable[[str], str] = str
    """Puts a message about settings into the words of who gave them."""

    def __post_init__(self) -> None:
        """Check the settings."""
        try:
            FilterSettings.from_mapping(self.settings)
        except ConfigError as error:
            raise ConfigError(self.words(str(error))) from error

    def let_through(self, text: str, prompt: str | None = None) -> str:
        """The text as it may be shown.

        Args:
            text: what was generated, whole.
            prompt: what it continues.

        Raises:
            ConstraintError: it is refused; the message says by which settings, and what they found.
            ConfigError: it cannot be judged, such as within the time that filtering may take.
        """
        try:
            report = OutputFilter.check(text, self.settings, prompt=prompt)
        except ConfigError as error:
            raise ConfigError(self.words(str(error))) from error
        if not report.passed:
            why = " ".join(map(self.words, report.failures))
            advice = self.words("Another seed or another prompt gives another text.")
            raise ConstraintError(f"The text was refused. {why} {advice}")
        return report.text

    def whole(self, pieces: Iterable[str], prompt: str | None = None) -> Iterator[str]:
        """A text that comes in pieces, as one piece that has passed; errors as of `let_through`."""
        yield self.let_through("".join(pieces), prompt)
