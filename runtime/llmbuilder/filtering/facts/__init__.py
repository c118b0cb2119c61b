"""Errors that can be seen in a text without knowing the world: one module for each kind."""

from llmbuilder.filtering.clock import Clock
from llmbuilder.filtering.facts.arithmetic import wrong_sums
from llmbuilder.filtering.facts.contradictions import contradictions
from llmbuilder.filtering.facts.dates import impossible_dates
from llmbuilder.filtering.facts.given import against_prompt
from llmbuilder.filtering.pieces import pieces

_LONGEST_PIECE = 20_000


def find_errors(text: str, prompt: str | None = None, clock: Clock | None = None) -> list[str]:
    """Statements of a text that cannot all be true, each in a few words. English only.

    Found are: a statement and its denial, or two values of what has only one (age, year of birth, number of parts);
    sums, products and percentages that are wrong; days and times that do not exist, and ends before their beginnings;
    names and numbers that differ from those of the prompt. Patterns of words decide, so errors in unusual words are
    missed.

    It knows nothing about the world. "Paris is the capital of Italy" passes, as does any other false statement that
    agrees with itself; nor can it tell a lie in a story, a joke or a quotation from a mistake. An empty list means
    that nothing was found, not that the text is true.
    """
    clock = clock or Clock(len(text))
    found: list[str] = []
    for find in (wrong_sums, impossible_dates):
        for piece in pieces(text, _LONGEST_PIECE):
            clock.left("factuality_check")
            found += find(piece)
    for error in contradictions(text, lambda: clock.left("factuality_check")):
        found.append(error)
    return found if prompt is None else [*found, *against_prompt(text, prompt)]
