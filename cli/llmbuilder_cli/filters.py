"""What decides whether a text is shown: settings of `OutputFilter` as flags."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from llmbuilder_cli.flags import Flag

if TYPE_CHECKING:
    from llmbuilder.inference import FilterReport

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
        "Refuse a text in which this regular expression matches; may be repeated. --forbidden keeps the model from "
        "writing words.",
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


def check_filter(flags: Mapping[str, Any]) -> None:
    """Check the values of flags.

    Raises:
        ConfigError: one is to be refused, by its flag.
    """
    from llmbuilder.errors import ConfigError
    from llmbuilder.filtering.settings import FilterSettings

    try:
        FilterSettings.from_mapping(_settings(flags))
    except ConfigError as error:
        raise ConfigError(_in_flags(str(error))) from error


def find(text: str, flags: Mapping[str, Any], prompt: str) -> "FilterReport":
    """What the filter finds.

    Raises:
        ConfigError: it takes too long; by the flag.
    """
    from llmbuilder.errors import ConfigError
    from llmbuilder.inference import OutputFilter

    try:
        return OutputFilter.check(text, _settings(flags), prompt=prompt)
    except ConfigError as error:
        raise ConfigError(_in_flags(str(error))) from error


def refusal(report: "FilterReport") -> str:
    """Why a text is not shown, and what to do."""
    why = " ".join(_in_flags(failure) for failure in report.failures)
    return f"The text was refused. {why} Another --seed or another prompt gives another text."


def _settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: True if (name, value) == ("personal_data", "refuse") else value for name, value in flags.items()
    }


def _in_flags(message: str) -> str:
    """A message of the filter's in the words of the command line."""
    message = _LENGTHS.sub(lambda found: f"{FILTERS[found[1]].words} ", message)
    message = _FIRST.sub(lambda found: FILTERS[found[1]].words, message)
    return message.replace("use re.escape", "write a backslash before what is no letter or digit")
