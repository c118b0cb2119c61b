"""What comes of a prompt: completions, and their pieces as they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.sampling import TokenLogprobs
from llmbuilder.showing import counted

FinishReason = Literal["eos", "stop", "length", "time", "cancelled"]


@dataclass(slots=True)
class Times:
    """When a prompt began to be computed, and its first and last token came, in seconds of one clock."""

    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prompt.

    ``token_ids`` holds every new token, EOS and those of a stop string included; ``text`` holds neither, but begins
    with the prompt if ``return_full_text`` says so.
    ``tokens_per_second`` counts the tokens after the first, 0.0 if there is none.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] | None
    finish_reason: FinishReason
    prompt_tokens: int
    truncated_tokens: int
    seconds_to_first_token: float
    tokens_per_second: float

    @property
    def statistics(self) -> str:
        """Tokens and speed, in a line."""
        prompt, text = counted(self.prompt_tokens, "token"), counted(len(self.token_ids), "token")
        return (
            f"prompt: {prompt}, first token after {self.seconds_to_first_token:.2f} s; "
            f"text: {text}, {self.tokens_per_second:.1f}/s; ended by: {self.finish_reason}"
        )

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        text: str,
        token_ids: Sequence[int],
        logprobs: Sequence[TokenLogprobs],
        finish_reason: FinishReason,
        times: Times,
    ) -> Self:
        """What came of ``prompt``: ``text`` is the new text alone, ``logprobs`` are left out unless asked for."""
        decoding = times.last_token - times.first_token
        return cls(
            text=(prompt.text if prompt.config.return_full_text else "") + text,
            token_ids=tuple(token_ids),
            logprobs=None if prompt.config.logprobs is None else tuple(logprobs),
            finish_reason=finish_reason,
            prompt_tokens=len(prompt.ids),
            truncated_tokens=prompt.truncated_tokens,
            seconds_to_first_token=times.first_token - times.started,
            tokens_per_second=(len(token_ids) - 1) / decoding if decoding > 0 else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of a continuation since it was last asked for: usually one token.

    ``text`` is what has become certain, without the prompt: it may be empty, while it could still become half a
    character or a stop string, and lag behind the tokens. ``finish_reason`` is set in a continuation's last piece.
    """

    sequence: int
    """Number of the continuation among those returned for its prompt, from 0."""
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] | None
    """One for each token, if asked for."""
    finish_reason: FinishReason | None
