"""What decoding needs of a constraint."""

from typing import Protocol, Self

from llmbuilder.arrays import Scores


class Constraint(Protocol):
    """Where one continuation stands. Immutable: every token gives a new one."""

    def decide(self, logits: Scores) -> tuple[Scores, Self]:
        """Look at the model's logits [V], which are not changed, before a token is chosen.

        Returns:
            The logits with -inf for every token that may not come next (at least one may), others perhaps lowered to
            steer the text; and where the continuation stands once this is decided, which the token advances.

        Raises:
            ConstraintError: no token can come next.
        """
        ...

    def advance(self, token: int) -> Self:
        """Where the continuation stands after one more token."""
        ...

    def missing(self) -> str | None:
        """What the text still lacks if it ends here, as the end of a sentence; None if it may end."""
        ...

    def complaint(self, text: str) -> str | None:
        """What is wrong with a ``text`` that a stop string has cut, perhaps within a word; None if nothing is."""
        ...
