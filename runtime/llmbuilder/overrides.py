"""The options of `llmbuilder.config.GenerationConfig` as type checkers see them where they are given by name.

Ranges, defaults and meanings stand in that class alone; a test compares the two. What it keeps as a tuple may be given
as a list.
"""

from collections.abc import Mapping
from typing import Literal, TypedDict


class _Shared(TypedDict, total=False):
    max_new_tokens: int
    min_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    epsilon_cutoff: float
    eta_cutoff: float
    repetition_penalty: float
    encoder_repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float] | None
    no_repeat_ngram_size: int
    exponential_decay_length_penalty: tuple[int, float] | list[float] | None
    do_sample: bool
    num_beams: int
    num_beam_groups: int
    diversity_penalty: float
    length_penalty: float
    early_stopping: bool | Literal["never"]
    eos_token_id: int | tuple[int, ...] | list[int] | None
    bos_token_id: int | None
    pad_token_id: int | None
    max_time: float | None
    stop_strings: str | tuple[str, ...] | list[str] | None
    use_cache: bool
    batch_size: int | None
    num_return_sequences: int
    logprobs: int | None
    return_full_text: bool
    context_overflow: Literal["slide", "stop", "error"]
    truncate_prompt: bool
    prompt_lookup_num_tokens: int | None


class SeedlessOptions(_Shared, total=False):
    """All but ``seed``: of a call whose own argument that is."""

    max_length: int | None


class LengthlessOptions(_Shared, total=False):
    """All but ``max_length``: of a call that has an argument of this name with another meaning."""

    seed: int | None


class GenerationOptions(SeedlessOptions, LengthlessOptions, total=False):
    """Every option, each of which may be left out.

    For functions of your own that pass options on: ``def tell(prompt: str, **options: Unpack[GenerationOptions])``.
    """
