"""From ids and options to a `Prompt` that is safe to decode: limits, special ids and the window are settled here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmbuilder import logs
from llmbuilder.checks import shown
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.errors import ConfigError, ContextOverflowError

_LOG = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as ids, with everything the decoding of its continuations shares.

    ``max_new_tokens`` is the effective limit (of max_new_tokens and max_length); ``truncated_tokens`` counts ids cut
    from the start. ``constraint`` is where every continuation begins.
    """

    ids: tuple[int, ...]
    text: str
    config: GenerationConfig
    eos_ids: tuple[int, ...]
    context_length: int
    max_new_tokens: int
    truncated_tokens: int = 0
    constraint: Constraint | None = None
    pad_id: int = 0


class Limits(Protocol):
    """What a model and its tokenizer allow."""

    @property
    def context_length(self) -> int:
        """The window in tokens."""
        ...

    @property
    def usable_vocab(self) -> int:
        """Ids that may occur."""
        ...

    @property
    def bos_token_id(self) -> int | None:
        """What an empty prompt begins with."""
        ...

    @property
    def pad_token_id(self) -> int | None:
        """What fills outputs."""
        ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """What ends a text."""
        ...


def prepare(limits: Limits, ids: Sequence[int], text: str, config: GenerationConfig) -> Prompt:
    """Check a prompt against the model and settle everything its decoding needs.

    Raises:
        ConfigError: ids, special and biased ones among them, outside the vocabulary; an empty prompt without BOS; a
            prompt of max_length tokens or more.
        ContextOverflowError: more tokens than the window holds, without ``truncate_prompt``.
    """
    for name in ("bos_token_id", "pad_token_id"):
        special = getattr(config, name)
        check_ids(name, () if special is None else (special,), limits.usable_vocab)
    check_ids("logit_bias", config.logit_bias or (), limits.usable_vocab)
    ids = tuple(ids) or _beginning(limits, config)
    check_ids("prompt", ids, limits.usable_vocab)
    eos_ids = limits.eos_token_ids if config.eos_ids is None else config.eos_ids
    check_ids("eos_token_id", eos_ids, limits.usable_vocab)
    kept = _fit(ids, limits.context_length, truncate=config.truncate_prompt)
    return Prompt(
        ids=kept,
        text=text,
        config=config,
        eos_ids=eos_ids,
        context_length=limits.context_length,
        max_new_tokens=_room(len(kept), config),
        truncated_tokens=len(ids) - len(kept),
        pad_id=next(i for i in (config.pad_token_id, limits.pad_token_id, *eos_ids, 0) if i is not None),
    )


def _beginning(limits: Limits, config: GenerationConfig) -> tuple[int, ...]:
    bos = limits.bos_token_id if config.bos_token_id is None else config.bos_token_id
    if bos is None:
        raise ConfigError(
            "The prompt is empty and the model has no BOS token to start from. Give a prompt, or bos_token_id."
        )
    return (bos,)


def check_ids(name: str, ids: Collection[int], vocab: int) -> None:
    """Refuse ids outside the vocabulary with a `ConfigError` that says what ``name``'s wrong id is and where."""
    if not ids or 0 <= min(ids) <= max(ids) < vocab:
        return
    for position, token in enumerate(ids):
        if not 0 <= token < vocab:
            raise ConfigError(
                f"{name}: id {shown(token)} at position {position} is outside the vocabulary of {vocab} tokens. "
                "Take the ids from this model's tokenizer."
            )


def _fit(ids: tuple[int, ...], window: int, *, truncate: bool) -> tuple[int, ...]:
    if len(ids) <= window:
        return ids
    if not truncate:
        raise ContextOverflowError(
            f"The prompt has {len(ids)} tokens, but the model's window holds {window}. "
            "Shorten it, or set truncate_prompt=True to keep its end."
        )
    _LOG.info("a prompt of %d tokens is cut to its last %d", len(ids), window)
    return ids[-window:]


def _room(prompt_tokens: int, config: GenerationConfig) -> int:
    """Most new tokens, of max_new_tokens and max_length the one reached first."""
    if config.max_length is None:
        return config.max_new_tokens
    if prompt_tokens >= config.max_length:
        raise ConfigError(
            f"The prompt has {prompt_tokens} tokens, which leaves no room within max_length={config.max_length}. "
            "Raise max_length, or use max_new_tokens."
        )
    return min(config.max_new_tokens, config.max_length - prompt_tokens)
