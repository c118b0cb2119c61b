"""A grammar that begins somewhere in a free text, or never.

One grammar says both, what is free and what follows where it ends, so that a token may reach from one into the other.
What it cannot say is that free text may end anywhere: where room is scarce a grammar keeps only the likeliest tokens
after which there is a way to the end, which would narrow the free text too. So a second state follows that alone.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmbuilder.arrays import Scores
from llmbuilder.constraints.grammar import Grammar, GrammarRules, allowed_mask
from llmbuilder.constraints.guidance import Matcher
from llmbuilder.constraints.vocabulary import Mask, Vocabulary
from llmbuilder.generator import Prompt


class LateRules:
    """What such texts look like, for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, whole: Any, free: Any, name: str | None = None) -> None:
        """Compile two grammars in the Lark form of llguidance: ``whole``, and the ``free`` texts among its own.

        Raises:
            ConstraintError: one is wrong, or llguidance does not support it.
            ConfigError: llguidance is not installed.
        """
        self._whole = GrammarRules(vocabulary, "grammar", whole, name)
        self._free = GrammarRules(vocabulary, "grammar", free, name)
        self._characters = vocabulary.whole

    def start(self, prompt: Prompt) -> "Late":
        """Where continuations of a prompt begin.

        Raises:
            ConstraintError: as `GrammarRules.start`.
        """
        return Late(self._whole.start(prompt), self._free.start(prompt).matcher, self._characters)


@dataclass(frozen=True, slots=True)
class Late:
    """Where a continuation stands.

    Attributes:
        grammar: in the whole.
        free: in the free text, never changed but copied; None once the grammar has begun.
        characters: tokens that are whole characters [V], after which a free text may end.
    """

    grammar: Grammar
    free: Matcher | None
    characters: Mask

    def decide(self, logits: Scores) -> tuple[Scores, "Late"]:
        """Leave of the scores [V] what the grammar allows and the budget can complete; see `Constraint`.

        Raises:
            ConstraintError: no token of the vocabulary can come next.
        """
        kept, grammar = self.grammar.decide(logits)
        if self.free is not None and grammar.ways:  # room is scarce
            free = allowed_mask(self.free, grammar.eos_ids, logits.size)
            free[: self.characters.size] &= self.characters[: logits.size]
            kept = np.where(free, logits, kept)
        return kept, replace(self, grammar=grammar)

    def advance(self, token: int) -> "Late":
        """After one more token; see `Constraint`.

        Raises:
            ConstraintError: the token does not fit the grammar.
        """
        free = None if self.free is None else self.free.deep_copy()
        is_free = free is not None and free.consume_token(token)
        return replace(self, grammar=self.grammar.advance(token), free=free if is_free else None)

    def missing(self) -> str | None:
        """That the text is not complete; see `Constraint`."""
        return self.grammar.missing()

    def complaint(self, text: str) -> str | None:
        """As of the grammar; see `Constraint`."""
        return self.grammar.complaint(text)
