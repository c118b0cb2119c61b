"""``GenerationConfig``: every generation parameter, checked when made.

Values are immutable. A config remembers which options were given (``given``), so that it can be laid over a
bundle's own defaults without its untouched fields hiding them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Unpack

from llmbuilder import ranges
from llmbuilder.checks import shown
from llmbuilder.errors import ConfigError
from llmbuilder.options import (
    Option,
    check_options,
    documented,
    options_of,
    refuse_unknown,
)
from llmbuilder.overrides import ELSEWHERE
from llmbuilder.ranges import is_real

if TYPE_CHECKING:
    from llmbuilder.overrides import GenerationOptions

_WHAT = "generation option"


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """How to continue a prompt. Keyword-only; unknown names, wrong types and contradictions raise `ConfigError`.

    The rules follow ``transformers`` 4.46.3 where it has them; differences are stated at the field. To change options
    of a config use `merge`: ``dataclasses.replace`` gives them all, and so hides a bundle's own defaults.
    """

    max_new_tokens: Annotated[int, ranges.COUNT] = 100
    """Most tokens to generate, at least 1."""
    min_new_tokens: Annotated[int, ranges.FROM_0] = 0
    """EOS is forbidden before this many new tokens."""
    max_length: Annotated[int, ranges.COUNT] | None = None
    """Most tokens of prompt and continuation together; with ``max_new_tokens`` the first reached ends."""

    temperature: Annotated[float, ranges.TEMPERATURE] = 0.8
    """Logits are divided by this, above 0; below 1 sharpens. Only used when sampling."""
    top_k: Annotated[int, ranges.FROM_0] | None = 50
    """Keep the k most likely tokens, and all that tie with the last of them; 0 or None: off."""
    top_p: Annotated[float, ranges.SHARE] | None = 0.9
    """Keep the smallest set of likeliest tokens with this probability mass, in (0, 1] (Holtzman et al. 2020)."""
    min_p: Annotated[float, ranges.SHARE] | None = None
    """Drop tokens less likely than this share of the likeliest, in (0, 1] (Nguyen et al. 2024)."""
    typical_p: Annotated[float, ranges.SHARE] | None = None
    """Keep the mass of tokens nearest the expected information content, in (0, 1] (Meister et al. 2023)."""
    epsilon_cutoff: Annotated[float, ranges.CUTOFF] = 0.0
    """Drop tokens below this probability, in [0, 1) (Hewitt et al. 2022)."""
    eta_cutoff: Annotated[float, ranges.CUTOFF] = 0.0
    """Entropy-dependent cutoff, in [0, 1) (Hewitt et al. 2022)."""
    repetition_penalty: Annotated[float, ranges.FACTOR] = 1.0
    """Above 1 makes tokens of prompt and continuation less likely (Keskar et al. 2019)."""
    encoder_repetition_penalty: Annotated[float, ranges.FACTOR] = 1.0
    """Above 1 makes tokens of the prompt more likely. With beams on all of them; in transformers on the first alone."""
    presence_penalty: Annotated[float, ranges.TWO] = 0.0
    """Subtracted from the score of every token that is among the new ones, -2 to 2 (OpenAI's formula)."""
    frequency_penalty: Annotated[float, ranges.TWO] = 0.0
    """The same for each time that it is, -2 to 2."""
    logit_bias: Annotated[dict[int, float], ranges.BIASES] | None = None
    """Added to the scores of these ids before any other rule, -100 to 100."""
    no_repeat_ngram_size: Annotated[int, ranges.FROM_0] = 0
    """No n-gram of this size occurs twice in prompt and continuation; 0: off."""
    exponential_decay_length_penalty: Annotated[tuple[int, float], ranges.DECAY] | None = None
    """(start, factor): EOS becomes exponentially likelier after ``start`` new tokens."""

    do_sample: bool = True
    """Draw from the distribution; False takes the likeliest token."""
    num_beams: Annotated[int, ranges.ROWS] = 1
    """Beams of beam search; 1: none."""
    num_beam_groups: Annotated[int, ranges.ROWS] = 1
    """Groups of diverse beam search (Vijayakumar et al. 2018)."""
    diversity_penalty: Annotated[float, ranges.PENALTY] = 0.0
    """Subtracted from a token's score for each earlier group that chose it in the same step."""
    length_penalty: Annotated[float, ranges.POWER] = 1.0
    """Beam scores are divided by length to this power, -30 to 30."""
    early_stopping: bool | Literal["never"] = True
    """With beams as in transformers (whose default is False); with one beam True stops at EOS, False goes past it."""

    eos_token_id: Annotated[int | tuple[int, ...], ranges.IDS] | None = None
    """End-of-sequence id or ids; None: those of the bundle."""
    bos_token_id: Annotated[int, ranges.TOKEN] | None = None
    """Starts an empty prompt; None: that of the bundle."""
    pad_token_id: Annotated[int, ranges.TOKEN] | None = None
    """Fills rectangular id outputs; no row is padded. Groups of beams that are done count as choosing it."""

    max_time: Annotated[float, ranges.POSITIVE] | None = None
    """Seconds for one prompt from the start of its prefill; at least one token is generated."""
    stop_strings: Annotated[tuple[str, ...], ranges.STRINGS] | None = None
    """End when one occurs in the new text, across token borders; it is not part of the text returned.

    One that spells a control token, such as ``<|im_end|>``, ends the text where that token comes."""
    use_cache: bool = True
    """False recomputes the last window for every token, exactly as upstream LLMBuilder does."""
    batch_size: Annotated[int, ranges.COUNT] | None = None
    """Most sequences decoded in one run; never changes what they say. A prompt that needs more has runs of its own."""
    seed: Annotated[int, ranges.SEED] | None = None
    """Same seed, same text; None: another text every time."""
    num_return_sequences: Annotated[int, ranges.ROWS] = 1
    """Continuations for each prompt; above 1 only with `TextGenerator.complete` and `complete_batch`."""
    logprobs: Annotated[int, ranges.LOGPROBS] | None = None
    """Report the log-probability of each token and of the n likeliest, before any rule; 0: of the token alone."""
    return_full_text: bool = False
    """Put the prompt, as given, before the text."""
    context_overflow: Literal["slide", "stop", "error"] = "slide"
    """Window full: keep its last three quarters and go on, end with reason ``length``, or raise."""
    truncate_prompt: bool = False
    """Cut a prompt longer than the window at its start; False raises `ContextOverflowError`."""
    prompt_lookup_num_tokens: Annotated[int, ranges.COUNT] | None = None
    """Prompt-lookup speculation with this many draft tokens (Saxena 2023)."""

    given: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of the options that were given, as opposed to left at their defaults."""

    if TYPE_CHECKING:  # fields are tuples, and may be given as lists

        def __init__(self, **options: Unpack[GenerationOptions]) -> None: ...

    def __new__(cls, *args: object, **options: object) -> Self:
        """Record which options are given and refuse unknown ones with a suggestion."""
        if args:
            raise ConfigError(
                "GenerationConfig takes keyword arguments only: write GenerationConfig(max_new_tokens=50)."
            )
        refuse_unknown(cls, options, _WHAT, ELSEWHERE)
        self = object.__new__(cls)
        object.__setattr__(self, "given", frozenset(options))
        return self

    def __post_init__(self) -> None:
        """Check ranges and contradictions; lists are kept as tuples and NumPy's numbers as Python's."""
        check_options(self)
        for broken, message in _contradictions(self):
            if broken:
                raise ConfigError(message)

    @property
    def eos_ids(self) -> tuple[int, ...] | None:
        """`eos_token_id` as a tuple, or None where the bundle decides."""
        ids = self.eos_token_id
        return ids if ids is None or isinstance(ids, tuple) else (ids,)

    def options(self) -> dict[str, Any]:
        """The options that were given, by name."""
        return {name: getattr(self, name) for name in options_of(type(self)) if name in self.given}

    def to_dict(self) -> dict[str, Any]:
        """The options that were given as JSON has them: lists in place of tuples. `from_dict` reads it."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self.options().items()}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """The config of options by name, such as those of `to_dict` or of a JSON object.

        Raises:
            ConfigError: no mapping, an unknown option, or one that cannot be used.
        """
        if not isinstance(options, Mapping):
            raise ConfigError(
                f"Options must be a dict, such as GenerationConfig.to_dict() gives, got {shown(options)}."
            )
        refuse_unknown(cls, options, _WHAT, ELSEWHERE)  # before Python refuses names that are no strings
        return cls(**options)

    @classmethod
    def merge(cls, *layers: "GenerationConfig | Mapping[str, Any] | None") -> "GenerationConfig":
        """Lay the given options of each layer over those before it, then validate once.

        Raises:
            ConfigError: a layer that holds no options, an unknown one, values out of range or in contradiction.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            if isinstance(layer, GenerationConfig):
                merged |= layer.options()
            elif isinstance(layer, Mapping):
                merged |= layer
            elif layer is not None:
                raise ConfigError(
                    f"config must be a GenerationConfig or a dict of options, got {shown(layer)}."
                )
        return cls.from_dict(merged)


def generation_options() -> Mapping[str, Option]:
    """Every option of `GenerationConfig` by name: its type, range, default and doc."""
    return options_of(GenerationConfig)


def greedy_at_zero(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as people type them, where a temperature of 0 means the likeliest token each time."""
    kept = dict(options)
    if is_real(kept.get("temperature"), lambda temperature: temperature == 0):
        del kept["temperature"]
        kept["do_sample"] = False
    return kept


def one_answer(config: GenerationConfig) -> GenerationConfig:
    """Return options that have one result.

    Raises:
        ConfigError: they have several.
    """
    if config.num_return_sequences > 1:
        raise ConfigError(
            f"num_return_sequences={config.num_return_sequences} has several results, and here there is one. "
            "TextGenerator.complete() and complete_batch() return them all."
        )
    return config


def _contradictions(c: GenerationConfig) -> Iterable[tuple[bool, str]]:
    """Yield (whether it holds, message) for every combination that cannot work."""
    yield (
        c.min_new_tokens > c.max_new_tokens,
        f"min_new_tokens={c.min_new_tokens} exceeds max_new_tokens={c.max_new_tokens}; lower one or raise the other.",
    )
    yield (
        c.num_return_sequences > 1 and not c.do_sample and c.num_beams == 1,
        "Greedy decoding has one result: use do_sample=True or num_beams, or num_return_sequences=1.",
    )
    yield (
        c.num_beams > 1 and c.num_return_sequences > c.num_beams,
        f"num_return_sequences={c.num_return_sequences} exceeds num_beams={c.num_beams}; raise num_beams.",
    )
    yield (
        c.num_beams % c.num_beam_groups != 0,
        f"num_beams={c.num_beams} must be a multiple of num_beam_groups={c.num_beam_groups}: the groups are equal.",
    )
    yield (
        c.num_beam_groups > 1 and (c.do_sample or c.diversity_penalty == 0),
        "Diverse beam search (num_beam_groups above 1) needs do_sample=False and a diversity_penalty above 0.",
    )
    yield (
        c.diversity_penalty > 0 and c.num_beam_groups == 1,
        f"diversity_penalty={c.diversity_penalty} acts between groups of beams only: set num_beam_groups above 1.",
    )
    yield (
        c.prompt_lookup_num_tokens is not None
        and (c.num_beams > 1 or c.num_return_sequences > 1 or not c.use_cache),
        (
            "prompt_lookup_num_tokens speculates on one row with a cache: "
            "it needs num_beams=1, num_return_sequences=1 and use_cache=True."
        ),
    )


Options = GenerationConfig | Mapping[str, Any] | None
"""Options of a call or of one prompt, as a caller may give them."""


def merge_own(common: GenerationConfig, own: Options) -> GenerationConfig:
    """Options of one prompt among several: its own over the common ones.

    Raises:
        ConfigError: options that cannot be used, or that only the call has.
    """
    if own is None:
        return common
    merged = GenerationConfig.merge(common, own)
    if "batch_size" in (own.given if isinstance(own, GenerationConfig) else own):
        raise ConfigError(
            "batch_size holds for all prompts together and cannot be an option of one. Give it once, for the call."
        )
    return merged
