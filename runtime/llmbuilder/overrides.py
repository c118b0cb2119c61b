"""Names and types of the options of `llmbuilder.config.GenerationConfig` where they are given by name.

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


ELSEWHERE = {
    "beam_size": "num_beams",
    "beam_width": "num_beams",
    "beams": "num_beams",
    "best_of": "num_return_sequences",
    "echo": "return_full_text",
    "greedy": "do_sample=False",
    "length": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_output_tokens": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "n": "num_return_sequences",
    "n_predict": "max_new_tokens",
    "num_generations": "num_return_sequences",
    "num_predict": "max_new_tokens",
    "num_samples": "num_return_sequences",
    "num_tokens": "max_new_tokens",
    "random_seed": "seed",
    "random_state": "seed",
    "repeat_penalty": "repetition_penalty",
    "sampling": "do_sample",
    "stop_sequences": "stop_strings",
    "stop_words": "stop_strings",
    "timeout": "max_time",
    "top_logprobs": "logprobs",
    "truncation": "truncate_prompt",
}
"""What other libraries call an option, and its name here."""
