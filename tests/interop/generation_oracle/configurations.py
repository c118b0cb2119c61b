"""What the generation oracle is asked: prompts and configurations, in the names both programs share."""

from collections.abc import Iterator
from itertools import product

PROMPTS = (
    "The future of AI is",
    "Once upon a time, there was a small robot who",
    "Shopping list:\n- apples\n- bread\n- apples\n- milk\n- bread\n-",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    "Question: Why is the sky blue?\nAnswer:",
)

IM_END, PERIOD, NEWLINE, COMMA = 2, 30, 198, 28
"""Ids of SmolLM2's vocabulary. Punctuation as EOS lets hypotheses finish early and often."""

COMMON = {
    "do_sample": False,
    "num_beams": 1,
    "max_new_tokens": 48,
    "eos_token_id": [IM_END],
    "pad_token_id": IM_END,
    "early_stopping": False,
}
"""Given to both programs; ``early_stopping`` because our default is True."""

Options = dict[str, object]
SENTENCE = {"eos_token_id": [PERIOD, NEWLINE]}
CLAUSE = {"eos_token_id": [PERIOD, NEWLINE, COMMA]}


def configurations() -> dict[str, Options]:
    """Every configuration by name, cheap ones first, without what is in ``COMMON``."""
    return {_name(options): options for options in (*_greedy(), *_beams(), *_groups())}


def theirs(options: Options) -> Options:
    """A configuration for transformers, where ``max_new_tokens`` would override ``max_length``."""
    merged = COMMON | options
    return merged | {"max_new_tokens": None} if "max_length" in merged else merged


def ours(options: Options) -> Options:
    """A configuration for our `GenerationConfig`, where one beam ends at EOS only with ``early_stopping=True``."""
    merged = COMMON | options
    return merged if merged["num_beams"] != 1 else merged | {"early_stopping": True}


def _greedy() -> Iterator[Options]:
    yield {}
    for penalty in (0.9, 1.1, 1.3, 2.0):
        yield {"repetition_penalty": penalty}
    for penalty in (0.8, 1.2):
        yield {"encoder_repetition_penalty": penalty}
    for size in (1, 2, 3, 4):
        yield {"no_repeat_ngram_size": size}
    yield {"max_length": 50}
    yield {"min_new_tokens": 48, "repetition_penalty": 1.05}
    yield {"eos_token_id": [PERIOD]}
    yield CLAUSE
    yield CLAUSE | {"min_new_tokens": 12}
    yield SENTENCE | {"exponential_decay_length_penalty": (5, 1.05)}
    yield {"eos_token_id": [NEWLINE], "exponential_decay_length_penalty": (0, 1.2)}
    yield {"eos_token_id": [NEWLINE], "exponential_decay_length_penalty": (10, 1.5), "min_new_tokens": 4}
    yield SENTENCE | {"exponential_decay_length_penalty": (3, 0.9)}
    yield {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3}
    yield {"repetition_penalty": 1.1, "encoder_repetition_penalty": 1.2}
    yield {"encoder_repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    yield SENTENCE | {"repetition_penalty": 1.15, "no_repeat_ngram_size": 2, "min_new_tokens": 20}
    yield SENTENCE | {
        "repetition_penalty": 1.2,
        "encoder_repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 8,
        "exponential_decay_length_penalty": (10, 1.1),
    }


def _beams() -> Iterator[Options]:
    for beams in range(2, 9):
        yield {"num_beams": beams}
    for penalty, stopping in product((-1.0, 0.0, 0.5, 1.0, 2.0), (True, False, "never")):
        yield SENTENCE | {"num_beams": 4, "length_penalty": penalty, "early_stopping": stopping}
    yield {"num_beams": 3, "num_return_sequences": 3}
    yield CLAUSE | {"num_beams": 5, "num_return_sequences": 5}
    yield CLAUSE | {
        "num_beams": 8,
        "num_return_sequences": 4,
        "length_penalty": 2.0,
        "early_stopping": "never",
    }
    yield {"num_beams": 2, "no_repeat_ngram_size": 1}
    yield {"num_beams": 4, "no_repeat_ngram_size": 2}
    yield {"num_beams": 4, "no_repeat_ngram_size": 3, "early_stopping": True}
    yield {"num_beams": 4, "repetition_penalty": 1.2}
    yield SENTENCE | {"num_beams": 6, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3}
    yield {"num_beams": 3, "encoder_repetition_penalty": 1.2}
    yield CLAUSE | {"num_beams": 4, "min_new_tokens": 16}
    yield SENTENCE | {"num_beams": 4, "exponential_decay_length_penalty": (8, 1.1)}
    yield {"num_beams": 3, "max_length": 50}
    yield SENTENCE | {
        "num_beams": 5,
        "num_return_sequences": 2,
        "length_penalty": 0.5,
        "early_stopping": "never",
        "repetition_penalty": 1.1,
        "encoder_repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 6,
        "exponential_decay_length_penalty": (12, 1.05),
    }


def _groups() -> Iterator[Options]:
    for beams, groups, penalty in ((4, 2, 0.5), (4, 4, 1.0), (6, 2, 1.0), (6, 3, 0.3), (8, 4, 2.0)):
        yield _diverse(beams, groups, penalty)
    for stopping in (True, False, "never"):
        yield SENTENCE | _diverse(6, 3, 0.5) | {"early_stopping": stopping, "num_return_sequences": 3}
    yield CLAUSE | _diverse(4, 2, 1.0) | {"length_penalty": 0.0, "num_return_sequences": 4}
    yield CLAUSE | _diverse(4, 2, 1.0) | {"length_penalty": 2.0, "min_new_tokens": 8}
    yield _diverse(4, 2, 0.8) | {"no_repeat_ngram_size": 2, "num_return_sequences": 2}
    yield SENTENCE | _diverse(6, 2, 0.8) | {"repetition_penalty": 1.2, "early_stopping": True}


def _diverse(beams: int, groups: int, penalty: float) -> Options:
    return {"num_beams": beams, "num_beam_groups": groups, "diversity_penalty": penalty}


def _name(options: Options) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "plain"
