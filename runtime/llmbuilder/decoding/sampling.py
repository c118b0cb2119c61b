"""From logits to a token: the order of the rules, stated here once, and the random draw.

Every row goes through the active ones of these steps, in this order (that of ``transformers``
4.46.3, which lacks step 4, presence_penalty and frequency_penalty):

 0. only the first ``vocab_size`` entries exist: ids beyond the tokenizer's vocabulary cannot be chosen
 1. logit_bias
 2. encoder_repetition_penalty
 3. repetition_penalty
 4. count_penalties
 5. no_repeat_ngram_size
 6. min_new_tokens
 7. exponential_decay_length_penalty

When sampling, and only then:

 8. temperature
 9. top_k
10. top_p
11. min_p
12. typical_p
13. epsilon_cutoff
14. eta_cutoff
15. the draw

Greedy decoding takes the likeliest token after step 7, the lowest id among equals. Beam search runs steps 1 to 7 on
log-probabilities, beam sampling 1 to 14.

The draw is the inverse of the cumulative distribution over the remaining tokens in the order of their ids, at one
float64 uniform for each token. Every sequence owns its random generator, seeded by the config's seed and the number
of the sequence among those returned for its prompt, so its tokens depend on nothing around it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from llmbuilder.arrays import Ids, Scores
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import logits as rules
from llmbuilder.decoding.drawing import Draw
from llmbuilder.decoding.remote import LogitRow, whole
from llmbuilder.errors import LLMBuilderError

Processor = Callable[[Scores, Ids], Scores]
"""Steps 1 to 7: (row of scores ``[V]``, all ids of the sequence ``[n]``) -> row."""
Sampler = Callable[[LogitRow, Sequence[int]], int]
"""(logits ``[V]``, new token ids) -> next token id."""


class TokenLogprobs(NamedTuple):
    """Log-probabilities (nats) at one step: of the token chosen, and ``(id, logprob)`` of the likeliest."""

    logprob: float
    top: tuple[tuple[int, float], ...]


def make_sampler(
    config: GenerationConfig,
    *,
    prompt_ids: Sequence[int],
    eos_ids: Sequence[int],
    vocab_size: int,
    sequence_index: int = 0,
) -> Sampler:
    """Compose the active rules into a function from logits to the next token.

    Args:
        config: The parameters.
        prompt_ids: Token ids of the prompt.
        eos_ids: End-of-sequence ids; may be empty.
        vocab_size: Ids from here on are never chosen.
        sequence_index: Number of this sequence among those returned for its prompt, from 0.

    Returns:
        A function of the model's logits ``[V]``, which it does not change, and the new tokens so far. Its only
        state is the random generator, which advances by one number a call when sampling. If the rules forbid
        every token it returns EOS, and raises `LLMBuilderError` where there is none, or when the logits are NaN
        or +inf.
    """
    prompt = rules.as_ids(prompt_ids)
    eos = tuple(i for i in eos_ids if i < vocab_size)
    steps = processors(config, prompt_ids=prompt_ids, eos_ids=eos)
    draw = Draw(config, sequence_index) if config.do_sample else None

    def sample(logits: LogitRow, new_ids: Sequence[int]) -> int:
        if not steps and not isinstance(logits, np.ndarray):
            quick = logits.likeliest() if draw is None else draw.among_largest(logits, vocab_size)
            if quick is not None and quick < vocab_size:
                return quick
        logits = whole(logits)
        scores = logits[:vocab_size]
        if steps:
            scores = process(steps, scores, np.concatenate((prompt, rules.as_ids(new_ids))))
        best = likeliest(scores)
        if best is None:
            check_row(logits[:vocab_size])
            return forced_end(eos)
        return best if draw is None else draw(scores)

    return sample


def likeliest(scores: Scores) -> int | None:
    """The token of the highest score, the lowest id among equals; None if every one is forbidden.

    Raises:
        LLMBuilderError: a score is NaN or +inf.
    """
    best = int(scores.argmax())
    score = float(scores[best])
    if score == -math.inf:
        return None
    if not math.isfinite(score):
        raise _damaged(best, score)
    return best


def check_row(logits: Scores) -> None:
    """Refuse a model's own scores [V] if no token can be chosen from them, whatever the rules.

    Raises:
        LLMBuilderError: one is NaN or +inf, or all are -inf.
    """
    if likeliest(logits) is None:
        raise _damaged(0, -math.inf)


def _damaged(token: int, score: float) -> LLMBuilderError:
    return LLMBuilderError(
        f"The model's score of token {token} is {score}, so no token can be chosen: the weights or "
        "their quantization are damaged. Run `llmb verify` on the bundle."
    )


def forced_end(eos_ids: Sequence[int]) -> int:
    """The token chosen where the rules forbid every one: the first EOS.

    Raises:
        LLMBuilderError: there is none.
    """
    if not eos_ids:
        raise LLMBuilderError(
            "The rules forbid every token and there is no end-of-sequence token to end with. Relax "
            "no_repeat_ngram_size, or set eos_token_id."
        )
    return eos_ids[0]


def processors(
    config: GenerationConfig, *, prompt_ids: Sequence[int], eos_ids: Sequence[int]
) -> tuple[Processor, ...]:
    """The active ones of steps 1 to 7, which greedy decoding and beam search run too."""
    prompt, eos = rules.as_ids(prompt_ids), rules.as_ids(eos_ids)
    start, factor = config.exponential_decay_length_penalty or (0, 1.0)
    presence, frequency = config.presence_penalty, config.frequency_penalty
    steps: tuple[tuple[bool, Processor], ...] = (
        (bool(config.logit_bias), lambda row, _: rules.logit_bias(row, config.logit_bias or {})),
        (
            config.encoder_repetition_penalty != 1.0,
            lambda row, _: rules.encoder_repetition_penalty(row, prompt, config.encoder_repetition_penalty),
        ),
        (
            config.repetition_penalty != 1.0,
            lambda row, ids: rules.repetition_penalty(row, ids, config.repetition_penalty),
        ),
        (
            presence != 0 or frequency != 0,
            lambda row, ids: rules.count_penalties(row, ids[prompt.size :], presence, frequency),
        ),
        (
            config.no_repeat_ngram_size > 0,
            lambda row, ids: rules.no_repeat_ngram(row, ids, config.no_repeat_ngram_size),
        ),
        (
            config.min_new_tokens > 0,
            lambda row, ids: rules.min_new_tokens(row, eos, ids.size - prompt.size, config.min_new_tokens),
        ),
        (
            config.exponential_decay_length_penalty is not None,
            lambda row, ids: rules.exponential_decay_length_penalty(
                row, eos, ids.size - prompt.size, start, factor
            ),
        ),
    )
    return tuple(step for active, step in steps if active)


def process(steps: Sequence[Processor], scores: Scores, ids: Ids) -> Scores:
    """Run `processors` on one row of scores or log-probabilities ``[V]`` of a sequence with these ids ``[n]``."""
    for step in steps:
        scores = step(scores, ids)
    return scores


def token_logprobs(logits: Scores, token_id: int, n: int) -> TokenLogprobs:
    """Log-probabilities in the raw distribution, before any rule and of every id the model has.

    Args:
        logits: The model's own row ``[V]``.
        token_id: The token that was chosen.
        n: How many of the likeliest to report, 0 or more, likeliest first and the lowest id first among equals.
    """
    logs = rules.log_softmax(logits)
    top = rules.largest(logits, n)
    return TokenLogprobs(float(logs[token_id]), tuple((int(i), float(logs[i])) for i in top))
