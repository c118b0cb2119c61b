"""Required words: which are met, how each can be said in tokens, and when the text gets one.

A word is placed where the model itself finds it likely. How likely it must be falls with every token, so that the words
are spread over the text and one that the model never leads up to comes all the same; towards the end of the budget the
best of those that are left is taken at once. The idea of raising wanted words more and more as the text goes on is that
of Pascual et al. (2021, https://arxiv.org/abs/2109.09707); here the model's own probability says where.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmbuilder.constraints.patterns import fold, patterns
from llmbuilder.constraints.reader import Place, Reader
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.errors import ConstraintError

SPACING = 24
"""Tokens after which a word is due, where the budget leaves as many for each."""
_PAUSE = 0.15  # of that, in which the model may say a word, but none is placed
_LEADS = ("x", ".", ",", "\n")

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Spelling:
    """Tokens that say a word, with a space before it or not, as given or with a capital letter."""

    tokens: tuple[int, ...]
    spaced: bool
    capital: bool


class Required:
    """The required words and everything that is known of them beforehand."""

    def __init__(
        self, vocabulary: Vocabulary, encode: Encode, words: Iterable[str], *, ordered: bool
    ) -> None:
        """Require these words, one that stands there twice only once unless they are ordered.

        Raises:
            ConstraintError: a word is empty, or the vocabulary cannot say it.
        """
        self.words = tuple(words)
        if not ordered:
            self.words = tuple({fold(word): word for word in reversed(self.words)}.values())[::-1]
        self.ordered = ordered
        self._vocabulary = vocabulary
        self._encode = encode
        looked_for = [(n, pattern) for n, word in enumerate(self.words) for pattern in patterns(word)]
        self.reader = Reader(pattern for _, pattern in looked_for)
        self._word_of = tuple(n for n, _ in looked_for)
        self.spellings = tuple(self._spellings(word) for word in self.words)

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Tokens of each word after any text."""
        return tuple(
            min(len(s.tokens) for s in of_word if s.spaced and not s.capital) for of_word in self.spellings
        )

    def start(self, prompt: str) -> Place:
        """Where a continuation begins: words of the prompt do not count."""
        place, _ = self.reader.read(Place(), fold(prompt))
        return place.anew()

    def read(self, place: Place, met: frozenset[int], text: str) -> tuple[Place, frozenset[int]]:
        """Read folded text; return where it ends and the words met with it."""
        for char in text:
            place, found = self.reader.read(place, char)
            new = self._count(met, found)
            if self.ordered and new != met:  # the next one begins after this one
                place = place.anew()
            met = new
        return place, met

    def ending(self, place: Place, met: frozenset[int]) -> frozenset[int]:
        """The words met if the text ends here, or no word character follows."""
        return self._count(met, sorted(place.ended))

    def left(self, met: frozenset[int]) -> list[int]:
        """Words not met that may come next."""
        missing = [n for n in range(len(self.words)) if n not in met]
        return missing[:1] if self.ordered else missing

    def reserve(self, met: frozenset[int]) -> int:
        """Tokens that the missing words take, and one to move on before each."""
        return sum(cost + 1 for n, cost in enumerate(self.costs) if n not in met)

    def _count(self, met: frozenset[int], found: Iterable[int]) -> frozenset[int]:
        for n in found:
            if self._word_of[n] in self.left(met):
                met |= {self._word_of[n]}
        return met

    def _spellings(self, word: str) -> tuple[Spelling, ...]:
        word = " ".join(word.split())
        forms = dict.fromkeys((word, word[0].upper() + word[1:]))
        made = (
            self._spell(form, spaced=spaced, capital=form != word)
            for form in forms
            for spaced in (True, False)
        )
        spellings = tuple(s for s in made if s is not None)
        if not any(s.spaced and not s.capital for s in spellings):
            raise ConstraintError(
                f"The required word {word!r} has characters that the model's vocabulary cannot say. "
                "Leave it out, or use a model whose tokenizer knows them."
            )
        return spellings

    def _spell(self, word: str, *, spaced: bool, capital: bool) -> Spelling | None:
        """As the tokenizer spells it inside a text, or else piece by piece."""
        text = (" " + word if spaced else word).encode()
        for lead in _LEADS:
            tokens = tuple(self._encode(lead + text.decode()))
            for cut in range(1, len(tokens)):
                if b"".join(self._vocabulary.pieces[t] for t in tokens[cut:]) == text:
                    return Spelling(tokens[cut:], spaced, capital)
        tokens = self._vocabulary.spell(text) or ()
        return Spelling(tokens, spaced, capital) if tokens else None


def threshold(waited: float, room: int, words: int) -> float:
    """How likely (log-probability) a word's first token must be for the word to be placed now.

    Args:
        waited: tokens since the last word or the start.
        room: tokens left that no required word needs.
        words: number of words missing.
    """
    if room <= 0:
        return -math.inf
    due = max(1.0, min(SPACING * (words + 1), room) / (words + 1))
    progress = waited / due
    return math.inf if progress < _PAUSE else -1.5 - 5.0 * progress**2
