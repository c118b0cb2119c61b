"""`OutputFilter`: may this text be shown, and in which form?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmbuilder.checks import check_length
from llmbuilder.errors import ConfigError
from llmbuilder.filtering import checks
from llmbuilder.filtering.checks import Finding
from llmbuilder.filtering.clock import Clock
from llmbuilder.filtering.personal import mask_personal
from llmbuilder.filtering.profanity import mask_profanity
from llmbuilder.filtering.settings import FilterSettings

MOST_CHARACTERS = 1_000_000
"""Of a text, and of its prompt: more than a novel has."""


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What a filter found. ``text`` is masked as the settings say, whether the text passed or not."""

    passed: bool
    failures: tuple[str, ...]
    """One sentence for each check that failed, its setting first."""
    scores: Mapping[str, float]
    """What each check that was asked for measured, by the name of its setting; its function says what that is."""
    text: str


class OutputFilter:
    """Checks of generated text. Settings are a dict; an absent one is off.

    ======================  ====================================================================
    ``min_length``          least number of characters
    ``max_length``          most characters
    ``max_repetition``      largest share of repeated 4-grams of words, 0..1
    ``coherence_threshold`` least coherence, 0..1
    ``profanity_filter``    mask profane words; never rejects
    ``personal_data``       True rejects e-mail addresses, phone numbers and the like; "mask" masks
    ``banned_patterns``     regular expressions that must not match
    ``allowed_scripts``     scripts that letters may be of, such as ["latin", "greek"]
    ``factuality_check``    reject what contradicts itself, arithmetic, the calendar or the prompt
    ======================  ====================================================================

    `llmbuilder.filtering.settings.FilterSettings` describes each, `llmbuilder.filtering.facts.find_errors` says what
    the last one cannot know.
    """

    @staticmethod
    def filter(text: str, config: Mapping[str, Any], *, prompt: str | None = None) -> str | None:
        """Return the text, masked where the settings say so, or None if a check rejects it.

        Args:
            text: a generated text.
            config: the settings, see the class.
            prompt: what the text continues; only ``factuality_check`` looks at it.

        Raises:
            ConfigError: a setting is unknown or has a wrong value, the text is not a string or has more than
                `MOST_CHARACTERS`, or filtering it takes longer than `llmbuilder.filtering.clock.SECONDS`.
        """
        report = OutputFilter.check(text, config, prompt=prompt)
        return report.text if report.passed else None

    @staticmethod
    def check(text: str, config: Mapping[str, Any], *, prompt: str | None = None) -> FilterReport:
        """Run every check that is asked for and report all of them; arguments as in `filter`.

        Raises:
            ConfigError: a setting or a text that cannot be used.
        """
        settings = FilterSettings.from_mapping(config)
        for name, value in (("text", text), ("prompt", "" if prompt is None else prompt)):
            if not isinstance(value, str):
                raise ConfigError(f"The {name} to filter must be a string, got {type(value).__name__}.")
            check_length(f"The {name} to filter", value, MOST_CHARACTERS, "Filter parts of it by themselves.")
        clock = Clock(len(text))
        found = dict(_run_checks(text, settings, prompt, clock))
        masked, profane = mask_profanity(text, clock) if settings.profanity_filter else (text, ())
        if settings.profanity_filter:
            found["profanity_filter"] = Finding(len(profane))
        failures = tuple(f"{name}: {finding.failure}." for name, finding in found.items() if finding.failure)
        return FilterReport(
            passed=not failures,
            failures=failures,
            scores={name: finding.score for name, finding in found.items()},
            text=mask_personal(masked) if settings.personal_data == "mask" else masked,
        )


def _run_checks(
    text: str, settings: FilterSettings, prompt: str | None, clock: Clock
) -> Iterator[tuple[str, Finding]]:
    """What each check of the original text found, by the name of its setting."""
    if settings.min_length is not None:
        yield "min_length", checks.check_min_length(text, settings.min_length)
    if settings.max_length is not None:
        yield "max_length", checks.check_max_length(text, settings.max_length)
    if settings.max_repetition is not None:
        yield "max_repetition", checks.check_repetition(text, settings.max_repetition)
    if settings.coherence_threshold is not None:
        yield "coherence_threshold", checks.check_coherence(text, settings.coherence_threshold)
    if settings.personal_data:
        finding = checks.check_personal(text)
        yield "personal_data", Finding(finding.score) if settings.personal_data == "mask" else finding
    if settings.banned_patterns:
        yield "banned_patterns", checks.check_patterns(text, settings.banned_patterns, clock)
    if settings.allowed_scripts:
        yield "allowed_scripts", checks.check_scripts(text, settings.allowed_scripts)
    if settings.factuality_check:
        yield "factuality_check", checks.check_facts(text, prompt, clock)
