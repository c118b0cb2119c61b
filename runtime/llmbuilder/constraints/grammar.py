"""JSON schemas, regular expressions, choices and grammars as a `Constraint`, by llguidance.

llguidance (https://github.com/guidance-ai/llguidance) says which tokens may come next. What it does not know is the
budget: `endings` finds a short way to complete the text, and once room gets scarce only tokens are left after which
there is still such a way, so that a text is never cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmbuilder.arrays import Scores
from llmbuilder.constraints.endings import Bytes, dead_end, shortest_ending
from llmbuilder.constraints.guidance import Guidance, Matcher, checked_choices, choices_grammar
from llmbuilder.constraints.vocabulary import Mask, Vocabulary
from llmbuilder.constraints.words import budget_of
from llmbuilder.errors import ConstraintError
from llmbuilder.generator import Prompt

KINDS = ("json_schema", "regex", "choices", "grammar")
_TRIED = 4  # of the likeliest tokens, when room is scarce


class GrammarRules:
    """What texts of one kind look like, for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, kind: str, definition: Any, name: str | None = None) -> None:
        """Compile a definition.

        Args:
            vocabulary: what the model can say.
            kind: one of `KINDS`.
            definition: a JSON schema (a mapping, or its JSON), a regular expression, a list of texts, or a grammar
                in the Lark form of llguidance.
            name: what errors call it; None: its kind.

        Raises:
            ConstraintError: the definition is wrong, or llguidance does not support it.
            ConfigError: llguidance is not installed.
        """
        self.kind = name or kind
        self._vocabulary = vocabulary
        self._guidance = Guidance.of(vocabulary)
        self._choices = checked_choices(definition) if kind == "choices" else ()
        self._bytes = Bytes(vocabulary)
        self._source = self._guidance.compile(kind, self._choices or definition)
        spelled = vocabulary.spell(self._source.encode())
        self.reach = len(spelled) if spelled else len(self._source)
        """Tokens by which a single one may lengthen the way to the end: no part is longer than the whole."""

    def start(self, prompt: Prompt) -> "Grammar":
        """Where continuations of a prompt begin.

        Raises:
            ConstraintError: no text of the grammar fits into the budget, or none could end.
        """
        config = prompt.config
        if not prompt.eos_ids or (config.num_beams == 1 and not config.early_stopping):
            raise ConstraintError(
                f"A text that matches a {self.kind} ends with EOS: set eos_token_id, and leave early_stopping True."
            )
        budget = budget_of(prompt)
        source = self._source
        if self._choices:
            fitting = tuple(c for c in self._choices if len(self._spelled(c)) <= budget)
            source = choices_grammar(fitting) if fitting else source
        matcher = self._guidance.matcher(self._guidance.tokenizer(prompt.eos_ids), source)
        if matcher.is_error():
            raise ConstraintError(f"The {self.kind} cannot be used: {matcher.get_error()} Write it simpler.")
        if self.ending(matcher, budget) is None:
            raise ConstraintError(self._why_unending(matcher, budget))
        return Grammar(self, prompt.eos_ids, budget, matcher)

    def ending(self, matcher: Matcher, most: int) -> tuple[int, ...] | None:
        """A short way to complete a text, of at most so many tokens; None if none is found."""
        return shortest_ending(matcher, self._bytes, most)

    def _why_unending(self, matcher: Matcher, budget: int) -> str:
        stuck = dead_end(matcher, self._bytes, budget)
        if stuck is None:
            return (
                f"No text that matches the {self.kind} was found to fit into the {budget} tokens that may be "
                "generated. Allow more new tokens, or ask for less."
            )
        said, needed = (part.decode(errors="replace") for part in (stuck.said, stuck.needed))
        place = f"after {said!r}" if said else "at its beginning"
        lacking = f"cannot say {needed!r} {place}" if needed else f"has no way to go on {place}"
        return (
            f"No text that matches the {self.kind} was found that the model can say: its vocabulary {lacking}. "
            "Ask for other characters or fewer repetitions, or use a model whose tokenizer knows these."
        )

    def _spelled(self, choice: str) -> tuple[int, ...]:
        spelled = self._vocabulary.spell(choice.encode())
        if spelled is None:
            raise ConstraintError(
                f"The choice {choice!r} has characters that the model's vocabulary cannot say. Leave it out."
            )
        return spelled


@dataclass(frozen=True, slots=True)
class Grammar:
    """Where a continuation stands.

    Attributes:
        rules: the grammar.
        eos_ids: what ends the text.
        budget: tokens left.
        matcher: llguidance's state, never changed but copied.
        unwatched: tokens that may be taken before the budget must be looked at again.
        ways: for some next tokens, how the text can be completed after them, within the budget.
        ending: how it can be completed from here, where that is known.
    """

    rules: GrammarRules
    eos_ids: tuple[int, ...]
    budget: int
    matcher: Matcher
    unwatched: int = 0
    ways: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    ending: tuple[int, ...] | None = None

    def decide(self, logits: Scores) -> tuple[Scores, "Grammar"]:
        """Leave of the scores [V] what the grammar allows and the budget can complete; see `Constraint`.

        Raises:
            ConstraintError: no token of the vocabulary can come next.
        """
        mask = allowed_mask(self.matcher, self.eos_ids, logits.size)
        allowed = np.where(mask, logits, np.float32(-np.inf))
        if allowed.max() == -np.inf:
            raise ConstraintError(
                f"The {self.rules.kind} needs characters next that the model's vocabulary cannot say. "
                "Let it allow others there."
            )
        if self.unwatched > 0:
            return allowed, replace(self, unwatched=self.unwatched - 1)
        ending = self.ending
        if ending is None:
            ending = self.rules.ending(self.matcher, self.budget)
        if ending is None:
            return allowed, self
        unwatched = (self.budget - len(ending)) // (1 + self.rules.reach)
        if unwatched > 0:
            return allowed, replace(self, unwatched=unwatched - 1)
        ways = self._ways(allowed, ending)
        kept = np.full_like(allowed, -np.inf)
        kept[list(ways)] = allowed[list(ways)]
        return kept, replace(self, ways=ways)

    def advance(self, token: int) -> "Grammar":
        """After one more token; see `Constraint`.

        Raises:
            ConstraintError: the token does not fit the grammar.
        """
        matcher = self.matcher.deep_copy()
        if not matcher.consume_token(token):
            raise ConstraintError(
                f"Token {token} does not fit the {self.rules.kind}: {matcher.get_error()} "
                "Write it simpler, or report this."
            )
        ending = self.ways.get(token)
        return replace(self, budget=self.budget - 1, matcher=matcher, ways={}, ending=ending)

    def missing(self) -> str | None:
        """That the text is not complete; see `Constraint`."""
        if self.matcher.is_accepting() or (self.matcher.is_stopped() and not self.matcher.is_error()):
            return None
        return f"the text does not match the {self.rules.kind} yet"

    def complaint(self, text: str) -> str | None:  # noqa: ARG002 (as of words)
        """Nothing; see `Constraint`."""
        return None

    def _ways(self, allowed: Scores, ending: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
        """The likeliest tokens after which the text can be completed, and the one known to; with the way from there."""
        end: tuple[int, ...] = ()
        ways = {ending[0]: ending[1:]} if ending else dict.fromkeys(self.eos_ids, end)
        for token in map(int, np.argsort(-allowed, kind="stable")[:_TRIED]):
            if token not in ways and allowed[token] > -np.inf:
                way = self._way_after(token)
                if way is not None:
                    ways[token] = way
        return ways

    def _way_after(self, token: int) -> tuple[int, ...] | None:
        if token in self.eos_ids:
            return ()
        return self.rules.ending(self.advance(token).matcher, self.budget - 1)


def allowed_mask(matcher: Matcher, eos_ids: tuple[int, ...], size: int) -> Mask:
    """Which of ``size`` tokens may come next."""
    mask = np.zeros(size, bool)
    if matcher.is_stopped():
        mask[list(eos_ids)] = True
    else:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        flags = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        mask[: flags.size] = flags
    return mask
