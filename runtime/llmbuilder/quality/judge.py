"""Measures with a model's own probabilities."""

import math
from collections.abc import Sequence

import numpy as np

from llmbuilder.generator import TextGenerator
from llmbuilder.quality.coherence import LEAST_SENTENCES, cut, order_log_odds
from llmbuilder.quality.lexicon import share

OTHER_ORDERS = 2
GAIN_WEIGHT, SENTENCE_WEIGHT = 0.050, -0.059
"""Log-odds for each nat that an order gains, and for each sentence."""
PROMPT_WEIGHT, PROMPT_CONSTANT = 20.9, -2.75
"""Log-odds for each nat per token that a prompt gains, and the constant. These four were fitted with
SmolLM2-135M-Instruct by ``scripts/fit_judge.py``, on passages that the benchmark does not use."""


class Judge:
    """Judges texts by how likely a model finds them."""

    def __init__(self, generator: TextGenerator) -> None:
        """Judge with the model of ``generator``, which stays the caller's to close."""
        self._generator = generator

    def coherence(self, text: str) -> float:
        """How much more likely the sentences are in this order than in others, 0..1; nan below three sentences.

        The log-likelihood of the text minus its mean in two seeded random orders: the order discrimination of
        Barzilay and Lapata (2008), with a language model's score in place of a ranker's (Laban et al., 2021). This
        gain, weighed against the number of sentences as a log-likelihood ratio, is added to the evidence of
        `llmbuilder.quality.coherence.coherence`; a logistic map fitted on other texts turns the sum into 0..1. Of a
        text longer than the model's window the first part counts. Unlike without a model, words are not looked at, for
        the sake of other languages than English: whether they are in order is a matter of `fluency`.
        """
        parts = self._fitting(cut(text))
        if len(parts) < LEAST_SENTENCES:
            return math.nan
        gain = GAIN_WEIGHT * self.order_gain(parts) + SENTENCE_WEIGHT * len(parts)
        return share(order_log_odds(parts) + gain)

    def order_gain(self, parts: Sequence[str]) -> float:
        """Log-likelihood (nats) of sentences in their order over its mean in other orders."""
        random = np.random.default_rng(0)
        others = [random.permutation(len(parts)) for _ in range(OTHER_ORDERS)]
        return self._likelihood(parts) - float(
            np.mean([self._likelihood([parts[n] for n in order]) for order in others])
        )

    def fluency(self, text: str) -> float:
        """Shannon's redundancy (1951) of a text under the model, 0..1; nan below two tokens.

        1 - H / log V: H is the cross-entropy (nats a token), which is the logarithm of the perplexity, and V the size
        of the vocabulary. 0 is no better than chance.
        """
        logprobs = self._logprobs(self._encode(text))
        if not logprobs:
            return math.nan
        return self.redundancy(-math.fsum(logprobs) / len(logprobs))

    def redundancy(self, cross_entropy: float) -> float:
        """`fluency` of a text whose cross-entropy (nats a token) is known."""
        return max(0.0, 1 - cross_entropy / math.log(self._generator.tokenizer.vocab_size))

    def relevance(self, text: str, prompt: str) -> float:
        """How much the prompt raises the probability of the text, 0..1; nan where one of them is too short.

        Pointwise mutual information per token (Li et al., 2016) through a logistic map fitted on other texts, which
        has 0.5 between a passage's own continuation and another of the same author. Of a long prompt the end counts,
        of a long text the beginning: each half the model's window at most.
        """
        gain = self.prompt_gain(text, prompt)
        return gain if math.isnan(gain) else share(PROMPT_WEIGHT * gain + PROMPT_CONSTANT)

    def prompt_gain(self, text: str, prompt: str) -> float:
        """Log-probability (nats a token) of a text after its prompt over that without; its first token is left out."""
        half = self._generator.engine.context_length // 2
        before, after = self._encode(prompt)[-half:], self._encode(text)[:half]
        if not before or len(after) < 2:
            return math.nan
        alone = self._generator.score(after).logprobs
        told = self._generator.score(before + after).logprobs[-len(alone) :]
        return (math.fsum(told) - math.fsum(alone)) / len(alone)

    def _encode(self, text: str) -> list[int]:
        return self._generator.tokenizer.encode(text, parse_special=False)

    def _likelihood(self, parts: Sequence[str]) -> float:
        return math.fsum(self._generator.score(self._encode(" ".join(parts))[: self._window]).logprobs)

    def _fitting(self, parts: Sequence[str]) -> list[str]:
        """The first sentences that fill the window; a margin is left for other orders, which differ in tokens."""
        fitting: list[str] = []
        used = 0
        for part in parts:
            used += len(self._encode(part)) + 1
            if used > self._window:
                break
            fitting.append(part)
        return fitting

    def _logprobs(self, ids: Sequence[int]) -> list[float]:
        """Log-probability of each token but the first, in windows that overlap by half."""
        window, step = self._window, max(self._window // 2, 1)
        logprobs = list(self._generator.score(ids[:window]).logprobs)
        for start in range(step, len(ids) - window + step, step):
            part = self._generator.score(ids[start : start + window]).logprobs
            logprobs += part[window - step - 1 :]
        return logprobs

    @property
    def _window(self) -> int:
        return self._generator.engine.context_length
