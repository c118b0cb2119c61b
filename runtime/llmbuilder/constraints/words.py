"""Required and forbidden words as a `Constraint`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmbuilder.arrays import Scores
from llmbuilder.constraints.forbidden import Forbidden, Spot, decode
from llmbuilder.constraints.patterns import fold, patterns
from llmbuilder.constraints.reader import Place, Reader
from llmbuilder.constraints.required import SPACING, Encode, Required, threshold
from llmbuilder.constraints.vocabulary import Mask, Vocabulary
from llmbuilder.errors import ConstraintError
from llmbuilder.generator import Prompt, log_softmax

_OPENING = 10.0  # nats that a token costs which leaves a forbidden word to be turned into another
_OPENERS = "\"'([{\u201c\u2018*_-"  # stand between the end of a sentence and the next


class WordRules:
    """Words that a continuation must say, and words that it must not, for one vocabulary."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        encode: Encode,
        *,
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        ordered: bool = False,
        whole: bool = True,
    ) -> None:
        """Check the words against each other and the vocabulary.

        Args:
            vocabulary: what the model can say.
            encode: text to token ids.
            required: words and phrases, found as whole words.
            forbidden: words and phrases.
            ordered: the required ones come in their order, none inside another.
            whole: forbidden ones count as whole words only, rather than anywhere.

        Raises:
            ConstraintError: a word is empty or cannot be said, or a required one contains a forbidden one.
        """
        self.vocabulary = vocabulary
        self.required = Required(vocabulary, encode, required, ordered=ordered)
        banned = tuple(pattern for word in forbidden for pattern in patterns(word, whole=whole))
        self.forbidden = Forbidden(vocabulary, banned)
        _check_contradictions(self.required.words, self.forbidden.reader)

    def start(self, prompt: Prompt) -> "Words":
        """Where continuations of a prompt begin.

        Raises:
            ConstraintError: the required words need more tokens than may be generated.
        """
        budget = budget_of(prompt)
        needed = sum(self.required.costs)
        if needed > budget:
            raise ConstraintError(
                f"The required words {', '.join(map(repr, self.required.words))} take at least {needed} tokens, but "
                f"only {budget} may be generated. Allow more new tokens, or require fewer."
            )
        return Words(
            rules=self,
            eos_ids=prompt.eos_ids,
            ends=bool(prompt.config.early_stopping),
            budget=budget,
            spot=self.forbidden.start(prompt.text),
            place=self.required.start(prompt.text),
            fresh=_begins_sentence(prompt.text, fresh=True),
        )


@dataclass(frozen=True, slots=True)
class Words:
    """Where a continuation stands.

    Attributes:
        rules: the words.
        eos_ids: what may end the text, if it ``ends`` there.
        budget: tokens left.
        spot: how far the text is in forbidden words.
        place: how far it is in required ones.
        met: numbers of the required words it has.
        plan: tokens of a word that is being said.
        waited: tokens since the last word or the start.
        fresh: a sentence begins here.
    """

    rules: WordRules
    eos_ids: tuple[int, ...]
    ends: bool
    budget: int
    spot: Spot
    place: Place
    met: frozenset[int] = frozenset()
    plan: tuple[int, ...] = ()
    waited: int = 0
    fresh: bool = False

    def decide(self, logits: Scores) -> tuple[Scores, "Words"]:
        """Forbid what must not come, and say a required word if its time has come; see `Constraint`."""
        if self.plan:
            return _only(logits, self.plan[0]), self
        blocked, costly = self._blocked(logits.size)
        allowed = np.where(blocked, np.float32(-np.inf), logits)
        if not self._missing:
            allowed[list(costly)] -= np.float32(_OPENING)
            return self._checked(allowed), self
        planned = self._place_word(allowed, wants_end=self._wants_end(logits))
        if planned.plan:
            return _only(logits, planned.plan[0]), planned
        allowed[list(costly)] -= np.float32(_OPENING)
        return self._checked(allowed), planned

    def advance(self, token: int) -> "Words":
        """After one more token; see `Constraint`."""
        if self.ends and token in self.eos_ids:
            return self
        required, forbidden = self.rules.required, self.rules.forbidden
        text, _ = decode(self.spot.part, self.rules.vocabulary.pieces[token])
        place, met = required.read(self.place, self.met, text)
        return replace(
            self,
            budget=self.budget - 1,
            spot=forbidden.advance(self.spot, token),
            place=place,
            met=met,
            plan=self.plan[1:],
            waited=0 if self.plan else self.waited + 1,
            fresh=_begins_sentence(text, fresh=self.fresh),
        )

    def missing(self) -> str | None:
        """Words that the text lacks; see `Constraint`."""
        if self._missing:
            words = (repr(self.rules.required.words[n]) for n in self._missing)
            return f"it lacks {', '.join(words)}"
        if self.rules.forbidden.is_open(self.spot):
            return "it ends with a forbidden word"
        return None

    def complaint(self, text: str) -> str | None:
        """The word that a text, read by itself, lacks or should not say; see `Constraint`."""
        folded = fold(text)
        spoken = _first(self.rules.forbidden.reader, folded)
        if spoken is not None:
            return f"it says the forbidden {spoken!r}"
        lacking = [w for w in self.rules.required.words if not any(p.found(folded) for p in patterns(w))]
        return f"it lacks the required {lacking[0]!r}" if lacking else None

    @property
    def _ending(self) -> frozenset[int]:
        """Words met if no word character follows."""
        return self.rules.required.ending(self.place, self.met)

    @property
    def _missing(self) -> list[int]:
        ending = self._ending
        return [n for n in range(len(self.rules.required.words)) if n not in ending]

    def _blocked(self, size: int) -> tuple[Mask, Sequence[int]]:
        """Tokens [V] that may not come next, and those allowed that leave a forbidden word to be changed."""
        forbidden, vocabulary = self.rules.forbidden, self.rules.vocabulary
        mask = np.ones(size, bool)
        mask[: vocabulary.size] = forbidden.completed_by(self.spot)
        room = self.budget - self.rules.required.reserve(self._ending)
        costly = forbidden.leading_on(self.spot) if room > 1 else ()
        mask[list(forbidden.opened_by(self.spot))] = True
        mask[list(costly)] = False
        if self._ending != self.met and not mask[: vocabulary.size][~vocabulary.may_continue_word].all():
            mask[: vocabulary.size] |= vocabulary.may_continue_word  # a required word stays whole
        mask[list(self.eos_ids)] = bool(self._missing) or forbidden.is_open(self.spot)
        return mask, costly

    def _wants_end(self, logits: Scores) -> bool:
        """Whether the model would rather end the text."""
        top = logits.max()
        mass = np.exp(logits - top).sum()
        return bool(np.exp(logits[list(self.eos_ids)] - top).sum() > 0.5 * mass)

    def _place_word(self, allowed: Scores, *, wants_end: bool) -> "Words":
        """With a plan to say a required word, if one is likely enough by now."""
        required, ending = self.rules.required, self._ending
        room = self.budget - required.reserve(ending) - self.rules.forbidden.is_open(self.spot)
        waited = self.waited + (SPACING if wants_end else 0)
        limit = threshold(waited, room, len(self._missing))
        logprobs = log_softmax(allowed)
        spellings = [
            spelling
            for n in required.left(ending)
            for spelling in required.spellings[n]
            if (spelling.spaced or self.place.after_space)
            and (self.fresh or not spelling.capital)
            and logprobs[spelling.tokens[0]] >= limit
        ]
        for spelling in sorted(spellings, key=lambda s: -logprobs[s.tokens[0]]):
            fits = logprobs[spelling.tokens[0]] > -np.inf and len(spelling.tokens) <= self.budget
            if fits and not self.rules.forbidden.says(self.spot, spelling.tokens):
                return replace(self, plan=spelling.tokens)
        return replace(self, waited=waited)

    def _checked(self, allowed: Scores) -> Scores:
        if allowed.max() == -np.inf:
            raise ConstraintError(
                "The forbidden words leave no token that could come next. Forbid fewer, or whole words only."
            )
        return allowed


def budget_of(prompt: Prompt) -> int:
    """Tokens that may be generated: of the limit and, where the text ends with it, the window."""
    if prompt.config.context_overflow == "slide":
        return prompt.max_new_tokens
    return min(prompt.max_new_tokens, prompt.context_length - len(prompt.ids) + 1)


def _only(logits: Scores, token: int) -> Scores:
    """Logits [V] that leave one token."""
    only = np.full_like(logits, -np.inf)
    only[token] = logits[token]
    return only


def _begins_sentence(text: str, *, fresh: bool) -> bool:
    """Whether a sentence begins after ``text``, before which one began or not."""
    if "\n" in text[len(text.rstrip()) :]:
        return True
    end = text.rstrip().rstrip(_OPENERS).rstrip()
    return end.endswith((".", "!", "?")) if end else fresh


def _check_contradictions(required: Sequence[str], banned: Reader) -> None:
    for word in required:
        for form in patterns(word):
            said = _first(banned, form.folded)
            if said is not None:
                raise ConstraintError(
                    f"The required {word!r} contains the forbidden {said!r}: no text can satisfy both. "
                    "Leave one of them out."
                )


def _first(reader: Reader, folded_text: str) -> str | None:
    """The first of a reader's words that a text says, if any."""
    end, found = reader.read(Place(), folded_text)
    numbers = {*found, *end.ended}
    return reader.patterns[min(numbers)].word if numbers else None
