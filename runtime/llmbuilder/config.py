"""``GenerationConfig``: every generation parameter, checked when made.

Values are immutable. A config remembers which options were given (``given``), so that it can be laid over a
bundle's own defaults without its untouched fields hiding them.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, Self

from llmbuilder.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """How to continue a prompt. Keyword-only; unknown names, wrong types and contradictions raise `ConfigError`.

    The rules follow ``transformers`` 4.46.3 where it has them; differences are stated at the field. To change options
    of a config use `merge`: ``dataclasses.replace`` gives them all, and so hides a bundle's own defaults.
    """

    max_new_tokens: int = 100
    """Most tokens to generate, at least 1."""
    min_new_tokens: int = 0
    """EOS is forbidden before this many new tokens."""
    max_length: int | None = None
    """Most tokens of prompt and continuation together; with ``max_new_tokens`` the first reached ends."""

    temperature: float = 0.8
    """Logits are divided by this, above 0; below 1 sharpens. Only used when sampling."""
    top_k: int | None = 50
    """Keep the k most likely tokens, and all that tie with the last of them; 0 or None: off."""
    top_p: float | None = 0.9
    """Keep the smallest set of likeliest tokens with this probability mass, in (0, 1] (Holtzman et al. 2020)."""
    min_p: float | None = None
    """Drop tokens less likely than this share of the likeliest, in (0, 1] (Nguyen et al. 2024)."""
    typical_p: float | None = None
    """Keep the mass of tokens nearest the expected information content, in (0, 1] (Meister et al. 2023)."""
    epsilon_cutoff: float = 0.0
    """Drop tokens below this probability, in [0, 1) (Hewitt et al. 2022)."""
    eta_cutoff: float = 0.0
    """Entropy-dependent cutoff, in [0, 1) (Hewitt et al. 2022)."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens of prompt and continuation less likely (Keskar et al. 2019)."""
    encoder_repetition_penalty: float = 1.0
    """Above 1 makes tokens of the prompt more likely. With beams on all of them; in transformers on the first alone."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice in prompt and continuation; 0: off."""
    exponential_decay_length_penalty: tuple[int, float] | None = None
    """(start, factor): EOS becomes exponentially likelier after ``start`` new tokens."""

    do_sample: bool = True
    """Draw from the distribution; False takes the likeliest token."""
    num_beams: int = 1
    """Beams of beam search; 1: none."""
    num_beam_groups: int = 1
    """Groups of diverse beam search (Vijayakumar et al. 2018)."""
    diversity_penalty: float = 0.0
    """Subtracted from a token's score for each earlier group that chose it in the same step."""
    length_penalty: float = 1.0
    """Beam scores are divided by length to this power, -30 to 30."""
    early_stopping: bool | Literal["never"] = True
    """With beams as in transformers (whose default is False); with one beam True stops at EOS, False goes past it."""

    eos_token_id: int | tuple[int, ...] | None = None
    """End-of-sequence id or ids; None: those of the bundle."""
    bos_token_id: int | None = None
    """Starts an empty prompt; None: that of the bundle."""
    pad_token_id: int | None = None
    """Fills rectangular id outputs; no row is padded. Groups of beams that are done count as choosing it."""

    max_time: float | None = None
    """Seconds for one prompt from the start of its prefill; at least one token is generated."""
    stop_strings: tuple[str, ...] | None = None
    """End when one occurs in the new text, across token borders; it is not part of the text returned."""
    use_cache: bool = True
    """False recomputes the last window for every token, exactly as upstream LLMBuilder does."""
    batch_size: int | None = None
    """Most sequences decoded in one run; never changes what they say. A prompt that needs more has runs of its own."""
    seed: int | None = None
    """Same seed, same text; None: another text every time."""
    num_return_sequences: int = 1
    """Continuations for each prompt; above 1 only with `TextGenerator.complete` and `complete_batch`."""
    logprobs: int | None = None
    """Report the log-probability of each token and of the n likeliest, before any rule; 0: of the token alone."""
    return_full_text: bool = False
    """Put the prompt, as given, before the text."""
    context_overflow: Literal["slide", "stop", "error"] = "slide"
    """Window full: keep its last three quarters and go on, end with reason ``length``, or raise."""
    truncate_prompt: bool = False
    """Cut a prompt longer than the window at its start; False raises `ContextOverflowError`."""
    prompt_lookup_num_tokens: int | None = None
    """Prompt-lookup speculation with this many draft tokens (Saxena 2023)."""

    given: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of the options that were given, as opposed to left at their defaults."""

    def __new__(cls, *args: object, **options: object) -> Self:
        """Record which options are given and refuse unknown ones with a suggestion."""
        if args:
            raise ConfigError(
                "GenerationConfig takes keyword arguments only, e.g. GenerationConfig(max_new_tokens=50)."
            )
        _refuse_unknown(options)
        self = object.__new__(cls)
        object.__setattr__(self, "given", frozenset(options))
        return self

    def __post_init__(self) -> None:
        """Take lists as tuples and NumPy's numbers as Python's, then check ranges and contradictions."""
        if isinstance(self.stop_strings, str):
            object.__setattr__(self, "stop_strings", (self.stop_strings,))
        for name, (holds, expected) in _RULES.items():
            value = _plain(getattr(self, name))
            object.__setattr__(self, name, value)
            if not holds(value):
                hint = (
                    " For greedy decoding set do_sample=False."
                    if name == "temperature" and value == 0
                    else ""
                )
                raise ConfigError(f"{name} must be {expected}, got {value!r}.{hint}")
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
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name in self.given}

    @classmethod
    def merge(cls, *layers: "GenerationConfig | Mapping[str, Any] | None") -> "GenerationConfig":
        """Lay the given options of each layer over those before it, then validate once."""
        merged: dict[str, Any] = {}
        for layer in layers:
            if isinstance(layer, GenerationConfig):
                merged |= layer.options()
            elif isinstance(layer, Mapping):
                merged |= layer
            elif layer is not None:
                raise ConfigError(f"config must be a GenerationConfig, got {type(layer).__name__}.")
        _refuse_unknown(merged)  # before Python refuses names that are no strings
        return cls(**merged)


Rule = tuple[Callable[[Any], bool], str]


def _is_int(value: object, low: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= low


def _is_real(value: object, holds: Callable[[float], bool]) -> bool:
    """Whether a finite number, as a float, satisfies ``holds``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:  # a whole number that no float holds
        return False
    return math.isfinite(number) and holds(number)


def _integer(low: int) -> Rule:
    return lambda v: _is_int(v, low), f"a whole number of at least {low}"


def _number(holds: Callable[[float], bool], expected: str) -> Rule:
    return lambda v: _is_real(v, holds), f"a number {expected}"


def _optional(rule: Rule) -> Rule:
    return lambda v: v is None or rule[0](v), f"{rule[1]}, or None"


def _one_of(*choices: object) -> Rule:
    def holds(value: object) -> bool:
        return any(value is c or (isinstance(value, str) and value == c) for c in choices)

    return holds, "one of " + ", ".join(map(repr, choices))


def _is_eos(value: object) -> bool:
    return _is_int(value, 0) or (
        isinstance(value, tuple) and len(value) > 0 and all(_is_int(i, 0) for i in value)
    )


def _is_decay(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and _is_int(value[0], 0)
        and _is_real(value[1], lambda factor: factor > 0)
    )


def _are_stop_strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(s, str) and s for s in value)


_BOOL = _one_of(True, False)
_POSITIVE = _number(lambda v: v > 0, "above 0")
_FACTOR = _number(lambda v: 1e-30 <= v <= 1e30, "above 0 (1e-30 to 1e30)")  # of logits in float32
_SHARE = _optional(_number(lambda v: 0 < v <= 1, "above 0 and at most 1"))
_CUTOFF = _number(lambda v: 0 <= v < 1, "from 0 up to, but not including, 1")

_RULES: dict[str, Rule] = {
    "max_new_tokens": _integer(1),
    "min_new_tokens": _integer(0),
    "max_length": _optional(_integer(1)),
    "temperature": _FACTOR,
    "top_k": _optional(_integer(0)),
    "top_p": _SHARE,
    "min_p": _SHARE,
    "typical_p": _SHARE,
    "epsilon_cutoff": _CUTOFF,
    "eta_cutoff": _CUTOFF,
    "repetition_penalty": _FACTOR,
    "encoder_repetition_penalty": _FACTOR,
    "no_repeat_ngram_size": _integer(0),
    "exponential_decay_length_penalty": _optional(
        (_is_decay, "a pair (start, factor) of a whole number of at least 0 and a number above 0")
    ),
    "do_sample": _BOOL,
    "num_beams": _integer(1),
    "num_beam_groups": _integer(1),
    "diversity_penalty": _number(lambda v: v >= 0, "of at least 0"),
    "length_penalty": _number(lambda v: abs(v) <= 30, "from -30 to 30"),
    "early_stopping": _one_of(True, False, "never"),
    "eos_token_id": _optional((_is_eos, "a token id or a non-empty list of token ids")),
    "bos_token_id": _optional(_integer(0)),
    "pad_token_id": _optional(_integer(0)),
    "max_time": _optional(_POSITIVE),
    "stop_strings": _optional((_are_stop_strings, "a non-empty string or a list of them")),
    "use_cache": _BOOL,
    "batch_size": _optional(_integer(1)),
    "seed": _optional(_integer(0)),
    "num_return_sequences": _integer(1),
    "logprobs": _optional(_integer(0)),
    "return_full_text": _BOOL,
    "context_overflow": _one_of("slide", "stop", "error"),
    "truncate_prompt": _BOOL,
    "prompt_lookup_num_tokens": _optional(_integer(1)),
}


def one_answer(config: GenerationConfig) -> GenerationConfig:
    """Return options that have one result.

    Raises:
        ConfigError: they have several.
    """
    if config.num_return_sequences > 1:
        raise ConfigError(
            f"num_return_sequences={config.num_return_sequences}: here each message has one answer. "
            "TextGenerator.complete() returns several."
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
        f"num_beams={c.num_beams} cannot be divided into num_beam_groups={c.num_beam_groups} equal groups.",
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


def _plain(value: Any) -> Any:
    """Lists as tuples, numbers of NumPy as Python's, which cannot overflow."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _refuse_unknown(options: Mapping[Any, object]) -> None:
    for name in options:
        if name not in _RULES:
            raise ConfigError(f"Unknown generation option {name!r}.{_suggestion(str(name))}")


def _suggestion(name: str) -> str:
    begun = [known for known in _RULES if len(name) > 2 and known.startswith(name)]
    close = begun or difflib.get_close_matches(name, _RULES, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
