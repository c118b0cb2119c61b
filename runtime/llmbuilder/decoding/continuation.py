"""One continuation in the making: its ids, its text so far, and why it ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.completion import Completion, FinishReason, Piece, Times
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.remote import LogitRow, whole
from llmbuilder.decoding.sampling import Sampler, TokenLogprobs, token_logprobs
from llmbuilder.decoding.stopping import BEGINNING, Place, StopMatcher
from llmbuilder.detokenizer import Detokenizer, TextState
from llmbuilder.errors import ConstraintError


@dataclass(slots=True)
class TextStream:
    """The text of a continuation as its tokens arrive."""

    detokenizer: Detokenizer
    matcher: StopMatcher
    state: TextState
    place: Place = BEGINNING
    _text: str = ""
    _taken: int = 0
    _late: list[int] = field(default_factory=list)
    """Tokens whose text nobody has asked for yet, where it cannot end the continuation."""
    _may_wait: bool = field(init=False)

    def __post_init__(self) -> None:
        """See whether tokens decide anything by their text."""
        self._may_wait = self.matcher.is_idle and self.detokenizer.joins_bytes

    @property
    def text(self) -> str:
        """What is certain of the text."""
        self._catch_up()
        return self._text

    def branch(self) -> "TextStream":
        """Another stream that goes on from here."""
        self._catch_up()
        return replace(self, _late=[])

    def push(self, token: int) -> bool:
        """Add a token; return whether a stop string is complete."""
        if self._may_wait:
            self._late.append(token)
            return False
        piece, self.state = self.detokenizer.advance(self.state, token)
        control = self.detokenizer.spelling(token)
        if not control:
            return self._append(piece)
        whole = len(self._text) + len(self.place.held) + len(piece)
        stopped = self._append(piece, control)
        if stopped and len(self._text) == whole:
            # Half a character that stands before the control token is text, too.
            self._text += self.detokenizer.finish(self.state)
        return stopped

    def finish(self) -> bool:
        """Release what was held back: nothing more can come. Return whether that completes a stop string."""
        self._catch_up()
        stopped = self._append(self.detokenizer.finish(self.state))
        self._text, self.place = self._text + self.place.held, BEGINNING
        return stopped

    def take(self) -> str:
        """The text that became certain since the last call."""
        text = self.text
        piece = text[self._taken :]
        self._taken = len(text)
        return piece

    def _catch_up(self) -> None:
        if self._late:
            late, self._late = self._late, []
            piece, self.state = self.detokenizer.advance_by(self.state, late)
            self._text += piece

    def _append(self, piece: str, control: str = "") -> bool:
        matched = self.matcher.advance(self.place, piece, control)
        self._text += matched.text
        self.place = matched.place
        return matched.stopped


@dataclass(slots=True)
class Continuation:
    """One continuation of a prompt. Mutable, and the only place its state lives."""

    prompt: Prompt
    sampler: Sampler
    stream: TextStream
    clock: Callable[[], float] = time.monotonic
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    times: Times = field(default_factory=Times)
    _told: int = 0
    _last_told: bool = False
    constraint: Constraint | None = field(init=False)

    def __post_init__(self) -> None:
        """Begin where the prompt's constraint begins."""
        self.constraint = self.prompt.constraint

    def start(self) -> None:
        """Start the clock."""
        now = self.clock()
        self.times = Times(now, now, now)

    def tail(self, count: int) -> Sequence[int]:
        """The last ``count`` ids of prompt and continuation."""
        new = self.new_ids[-count:] if count else []
        missing = count - len(new)
        return [*self.prompt.ids[len(self.prompt.ids) - missing :], *new] if missing > 0 else new

    def accept(self, logits: LogitRow) -> None:
        """Choose the next token from logits [V], record it, and decide whether this continuation has ended."""
        if self.constraint is None:
            token = self.sampler(logits, self.new_ids)
        else:
            token, self.constraint = self._choose(self.constraint, whole(logits))
        if self.prompt.config.logprobs is not None:
            self.logprobs.append(token_logprobs(whole(logits), token, self.prompt.config.logprobs))
        self.times.last_token = self.clock()
        if not self.new_ids:
            self.times.first_token = self.times.last_token
        self.new_ids.append(token)
        self._check_end(token)
        if self.constraint is not None and self.finish_reason is not None:
            check_met(self.constraint, self.finish_reason)
            check_cut(self.constraint, self.finish_reason, self.stream.text)

    def finish(self, reason: FinishReason) -> None:
        """End here; held-back text is released, unless a stop string took its place."""
        self.finish_reason = reason
        if reason != "stop" and self.stream.finish():
            self.finish_reason = "stop"

    def piece(self, sequence: int) -> Piece | None:
        """What came since the last call, as a piece of the ``sequence``-th continuation; None if nothing did."""
        ids, logprobs = self.new_ids[self._told :], self.logprobs[self._told :]
        text = self.stream.take()
        if self._last_told or not (ids or text or self.finish_reason):
            return None
        self._told += len(ids)
        self._last_told = self.finish_reason is not None
        wanted = self.prompt.config.logprobs is not None
        return Piece(sequence, text, tuple(ids), tuple(logprobs) if wanted else None, self.finish_reason)

    def completion(self) -> Completion:
        """What came of it, once it has ended."""
        assert self.finish_reason is not None  # noqa: S101 (the loop runs every continuation to its end)
        return Completion.of(
            self.prompt, self.stream.text, self.new_ids, self.logprobs, self.finish_reason, self.times
        )

    def _choose(self, constraint: Constraint, logits: FloatArray) -> tuple[int, Constraint]:
        allowed, decided = constraint.decide(logits)
        token = self.sampler(allowed, self.new_ids)
        # Where the other rules forbid all that the constraint allows, the constraint has the last word.
        token = token if allowed[token] > -np.inf else int(allowed.argmax())
        return token, decided.advance(token)

    def _check_end(self, token: int) -> None:
        config = self.prompt.config
        if config.early_stopping and token in self.prompt.eos_ids:
            self.finish("eos")
        elif self.stream.push(token):
            self.finish("stop")
        elif len(self.new_ids) >= self.prompt.max_new_tokens:
            self.finish("length")
        elif config.max_time is not None and self.times.last_token - self.times.started > config.max_time:
            self.finish("time")


def check_met(constraint: Constraint, reason: FinishReason) -> None:
    """Raise `ConstraintError` if a text that ends for ``reason`` does not meet its constraint."""
    missing = constraint.missing()
    if missing is not None:
        raise ConstraintError(
            f"The text ended (reason: {reason}) before its constraint was met: {missing}. Give it more room: "
            "more new tokens, more max_time, fewer stop_strings."
        )


def check_cut(constraint: Constraint, reason: FinishReason, text: str) -> None:
    """Raise `ConstraintError` if a stop string is cut off a text, and perhaps half a word that it must have."""
    complaint = constraint.complaint(text) if reason == "stop" else None
    if complaint is not None:
        raise ConstraintError(f"A stop string ended the text where {complaint}. Leave out stop_strings.")
