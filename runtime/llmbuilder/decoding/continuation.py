"""One continuation in the making: its ids, its text so far, and why it ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.sampling import Sampler, TokenLogprobs, token_logprobs
from llmbuilder.decoding.stopping import StopMatcher
from llmbuilder.errors import ConstraintError
from llmbuilder.tokenizer import Detokenizer, TextState

FinishReason = Literal["eos", "stop", "length", "time", "cancelled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A continuation that has ended. Times are those of the group's clock, in seconds."""

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: FinishReason
    started: float
    first_token: float
    last_token: float


@dataclass(slots=True)
class TextStream:
    """The text of a continuation as its tokens arrive; ``ready`` has not been taken yet."""

    detokenizer: Detokenizer
    matcher: StopMatcher
    state: TextState
    held: str = ""
    ready: str = ""

    def push(self, token: int) -> bool:
        """Add a token; return whether a stop string is complete."""
        piece, self.state = self.detokenizer.advance(self.state, token)
        return self._append(piece)

    def finish(self) -> bool:
        """Release what was held back: nothing more can come. Return whether that completes a stop string."""
        stopped = self._append(self.detokenizer.finish(self.state))
        self.ready, self.held = self.ready + self.held, ""
        return stopped

    def take(self) -> str:
        """The text that became ready since the last call."""
        text, self.ready = self.ready, ""
        return text

    def _append(self, piece: str) -> bool:
        matched = self.matcher.advance(self.held, piece)
        self.ready += matched.text
        self.held = matched.held
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
    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
    constraint: Constraint | None = field(init=False)

    def __post_init__(self) -> None:
        """Begin where the prompt's constraint begins."""
        self.constraint = self.prompt.constraint

    def tail(self, count: int) -> Sequence[int]:
        """The last ``count`` ids of prompt and continuation."""
        new = self.new_ids[-count:] if count else []
        missing = count - len(new)
        return [*self.prompt.ids[len(self.prompt.ids) - missing :], *new] if missing > 0 else new

    def accept(self, logits: FloatArray) -> None:
        """Choose the next token from logits [V], record it, and decide whether this continuation has ended."""
        if self.constraint is None:
            token = self.sampler(logits, self.new_ids)
        else:
            token, self.constraint = self._choose(self.constraint, logits)
        if self.prompt.config.logprobs is not None:
            self.logprobs.append(token_logprobs(logits, token, self.prompt.config.logprobs))
        self.new_ids.append(token)
        self.last_token = self.clock()
        if len(self.new_ids) == 1:
            self.first_token = self.last_token
        self._check_end(token)
        if self.constraint is not None and self.finish_reason is not None:
            check_met(self.constraint, self.finish_reason)

    def finish(self, reason: FinishReason) -> None:
        """End here; held-back text is released, unless a stop string took its place."""
        self.finish_reason = reason
        if reason != "stop" and self.stream.finish():
            self.finish_reason = "stop"

    def outcome(self) -> Outcome:
        """What came of it, once it has ended; takes the text."""
        assert self.finish_reason is not None  # noqa: S101 (the loop runs every continuation to its end)
        return Outcome(
            prompt=self.prompt,
            text=self.stream.take(),
            token_ids=tuple(self.new_ids),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            started=self.started,
            first_token=self.first_token,
            last_token=self.last_token,
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
        elif config.max_time is not None and self.last_token - self.started > config.max_time:
            self.finish("time")


def check_met(constraint: Constraint, reason: FinishReason) -> None:
    """Raise `ConstraintError` if a text that ends for ``reason`` does not meet its constraint."""
    missing = constraint.missing()
    if missing is not None:
        raise ConstraintError(
            f"The text ended (reason: {reason}) before its constraint was met: {missing}. Give it more room: "
            "a larger max_length, more max_time, fewer stop_strings."
        )
