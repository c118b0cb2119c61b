"""What decides whether a text is shown: settings of `OutputFilter` as flags."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from llmbuilder_cli.flags import Flag
from llmbuilder_cli.progress import said

if TYPE_CHECKING:
    from llmbuilder.inference import OutputGate

FILTERS = {
    "min_length": Flag("--min-characters", int, "Refuse a text with fewer.", metavar="N", least=0),
    "max_length": Flag("--max-characters", int, "Refuse a text with more.", metavar="N", least=0),
    "max_repetition": Flag(
        "--max-repetition", float, "Refuse a text of which a larger share repeats itself, 0 to 1."
    ),
    "coherence_threshold": Flag("--min-coherence", float, "Refuse a text with less coherence, 0 to 1."),
    "profanity_filter": Flag(
        "--mask-profanity", bool, "Write asterisks in the place of profane English words."
    ),
    "personal_data": Flag(
        "--personal-data",
        Literal["refuse", "mask"],
        "Refuse a text with e-mail addresses, phone, card or account numbers, or mask them.",
    ),
    "banned_patterns": Flag(
        "--banned-pattern",
        list[str],
        "Refuse a text in which this regular expression matches; may be repeated. `llmb generate --forbidden` "
        "keeps the model from writing words.",
        metavar="PATTERN",
    ),
    "allowed_scripts": Flag(
        "--allowed-script",
        list[str],
        "Refuse a text with letters of other scripts than this, such as latin; may be repeated.",
        metavar="SCRIPT",
    ),
    "factuality_check": Flag(
        "--check-facts",
        bool,
        "Refuse a text that contradicts itself, its prompt, arithmetic or the calendar.",
    ),
}
_ALTERNATIVES = "|".join(FILTERS)
_LENGTHS = re.compile(r"\b(min_length|max_length)=")
_FIRST = re.compile(rf"^(?:Filter setting )?({_ALTERNATIVES})\b")


def read_filter(flags: Mapping[str, Any]) -> "OutputGate | None":
    """What each text must pass; None if no flag is given.

    Raises:
        ConfigError: a value is to be refused, by its flag.
    """
    if not flags:
        return None
    with said("Reading the filter"):
        from llmbuilder.inference import OutputGate

        return OutputGate(_settings(flags), _in_flags)


def _settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: True if (name, value) == ("personal_data", "refuse") else value for name, value in flags.items()
    }


def _in_flags(message: str) -> str:
    """A message of the filter's in the words of the command line."""
    message = _LENGTHS.sub(lambda found: f"{FILTERS[found[1]].words} ", message)
    message = _FIRST.sub(lambda found: FILTERS[found[1]].words, message)
    message = message.replace("Another seed ", "Another --seed ")
    return message.replace("use re.escape", "write a backslash before what is no letter or digit")
