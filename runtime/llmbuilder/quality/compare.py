"""`compare_generations`: which settings write better, and whether the difference is more than chance."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from llmbuilder.arrays import DoubleArray
from llmbuilder.checks import StrPath, check_call, check_count, check_text, is_many, shown
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Completion, Options, TextGenerator, remembering
from llmbuilder.overrides import SeedlessOptions
from llmbuilder.quality.evaluate import Evaluation, evaluate
from llmbuilder.quality.judge import Judge
from llmbuilder.quality.significance import (
    bootstrap_interval,
    difference_of_means,
    difference_within,
    holm,
)
from llmbuilder.quality.text import words

if TYPE_CHECKING:
    from llmbuilder.checks import StrPath
    from llmbuilder.generator import Device

SIGNIFICANT = 0.05
NGRAM = 2
BATCH_SIZE = 16
_MOST_SAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One text with what was measured of it."""

    completion: Completion
    evaluation: Evaluation

    @property
    def text(self) -> str:
        """The generated text."""
        return self.completion.text

    @property
    def quality(self) -> float:
        """`Evaluation.quality`."""
        return self.evaluation.quality


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """What one configuration wrote.

    Qualities are 0..1; a sample that cannot be judged counts for none of them.
    """

    config: GenerationConfig
    samples: tuple[Sample, ...]
    avg_quality: float
    """Mean over samples of (coherence + fluency + relevance + (1 - repetition)) / 4, values that are nan left out."""
    quality_spread: float
    """Standard deviation of the samples' qualities; 0 of one."""
    quality_interval: tuple[float, float]
    """95 % bootstrap interval of `avg_quality`."""
    avg_diversity: float
    """Mean over pairs of samples of 1 - |A & B| / |A | B|, A and B their sets of word bigrams (Jaccard distance)."""
    tokens_per_second: float
    """Mean speed of a sample while all samples of all configurations were decoded together."""
    avg_tokens: float
    """Mean number of new tokens."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How two configurations compare. The p-values are corrected for all tests of the comparison."""

    first: int
    second: int
    quality_difference: float
    """Mean of the second less that of the first."""
    quality_p: float
    diversity_difference: float
    diversity_p: float

    @property
    def differs(self) -> bool:
        """Whether either difference is more than chance would give in 5 % of comparisons."""
        return min(self.quality_p, self.diversity_p) < SIGNIFICANT

    def __str__(self) -> str:
        """A sentence; configurations count from 1."""
        parts = [
            f"{word} (p = {p:.3f})"
            for p, difference, better, worse in (
                (self.quality_p, self.quality_difference, "better", "worse"),
                (self.diversity_p, self.diversity_difference, "more diverse", "less diverse"),
            )
            if p < SIGNIFICANT
            for word in [better if difference > 0 else worse]
        ]
        told_apart = " and ".join(parts) or "not told apart"
        return f"{self.second + 1} against {self.first + 1}: {told_apart}"


class Comparison(list[ComparisonResult]):
    """The results in the order of the configurations, and ``verdicts`` for every pair of them."""

    def __init__(self, results: Sequence[ComparisonResult], verdicts: Sequence[Verdict]) -> None:
        """Hold both."""
        super().__init__(results)
        self.verdicts = tuple(verdicts)


def compare_generations(  # noqa: PLR0913 (the documented call)
    model_path: "StrPath",
    tokenizer_path: "StrPath | None" = None,
    prompt: str = "",
    configs: Sequence[GenerationConfig | Mapping[str, Any]] = (),
    num_samples: int = 10,
    *,
    seed: int | None = 0,
    config: GenerationConfig | None = None,
    device: "Device" = "auto",
    threads: int | None = None,
    **overrides: Unpack[SeedlessOptions],
) -> Comparison:
    """Write samples with each configuration, measure them, and say which differences are more than chance.

    All samples are decoded in one continuous batch and the prompt is computed once. See `ComparisonResult` for the
    formulas. Whether two configurations differ in mean quality or in diversity is decided by permutation tests, with
    Holm's correction for their number: configurations that are equal are told apart in at most 5 % of comparisons.

    Coherence and relevance are measured from the text, fluency from the model's own probabilities.

    Args:
        model_path: see `TextGenerator`, as ``tokenizer_path``, ``device`` and ``threads``.
        tokenizer_path: the tokenizer the bundle must have.
        prompt: what all samples continue.
        configs: at least one; options that one does not give come from ``config`` and the bundle. Samples are new
            text alone, whatever ``return_full_text`` says.
        num_samples: texts of each configuration. Greedy and beam search without sampling have one text, which
            is repeated.
        seed: of all draws; each configuration has its own derived from it. A configuration's own ``seed`` is ignored.
        config: options of all configurations.
        device: where to run.
        threads: CPU threads.
        overrides: options that win over those of every configuration, such as ``max_new_tokens``.

    Raises:
        ConfigError: no configurations, no samples, or options that cannot be used.
    """
    check_call("prompt", prompt, tokenizer_path, overrides)
    layered = [GenerationConfig.merge(config, own) for own in _check_configs(configs)]
    with TextGenerator(model_path, tokenizer_path, device=device, threads=threads) as generator:
        return compare(generator, prompt, layered, num_samples=num_samples, seed=seed, **overrides)


def compare(
    generator: TextGenerator,
    prompt: str,
    configs: Sequence[GenerationConfig | Mapping[str, Any]],
    *,
    num_samples: int = 10,
    seed: int | None = 0,
    **overrides: Unpack[SeedlessOptions],
) -> Comparison:
    """`compare_generations` with a generator that is already there."""
    check_text("prompt", prompt)
    num_samples = check_count("num_samples", num_samples, most=_MOST_SAMPLES)
    seed = seed if seed is None else check_count("seed", seed, least=0)
    settings = [GenerationConfig.merge(config, overrides) for config in _check_configs(configs)]
    completions = _write(generator, prompt, settings, num_samples, np.random.SeedSequence(seed))
    judge = Judge(generator)
    samples = [[Sample(c, _measure(c, prompt, judge)) for c in texts] for texts in completions]
    random = np.random.default_rng(0 if seed is None else seed)
    results = [_result(config, found, random) for config, found in zip(settings, samples, strict=True)]
    return Comparison(results, list(_verdicts(results, random)))


def _check_configs(configs: Any) -> tuple[Options, ...]:
    given = tuple(configs) if is_many(configs) else ()
    if not given:
        raise ConfigError(
            "configs must be a list of at least one configuration, such as [GenerationConfig(temperature=0.7)], "
            f"got {shown(configs)}."
        )
    return given


def _write(
    generator: TextGenerator,
    prompt: str,
    configs: Sequence[GenerationConfig],
    count: int,
    seeds: np.random.SeedSequence,
) -> list[list[Completion]]:
    """Samples of each configuration, all decoded together; the prompt is computed once."""
    wanted = [config for config in configs for _ in range(_different(config, count))]
    drawn = seeds.generate_state(len(wanted)).tolist()
    own = [{name: v for name, v in config.options().items() if name != "batch_size"} for config in wanted]
    options = [
        {**given, "seed": seed, "logprobs": 0, "return_full_text": False}
        for given, seed in zip(own, drawn, strict=True)
    ]
    rows = max((config.batch_size or BATCH_SIZE for config in configs), default=BATCH_SIZE)
    engine, _ = remembering(generator.engine)
    completed = iter(
        TextGenerator.from_engine(engine).complete_batch([prompt] * len(wanted), options, batch_size=rows)
    )
    texts = [[next(completed)[0] for _ in range(_different(config, count))] for config in configs]
    return [list(itertools.islice(itertools.cycle(own), count)) for own in texts]


def _different(config: GenerationConfig, count: int) -> int:
    """How many different texts a configuration can give: one where nothing is drawn."""
    return count if config.do_sample else 1


def _measure(completion: Completion, prompt: str, judge: Judge) -> Evaluation:
    """Text statistics, but fluency by the probabilities that are there already."""
    measured = evaluate(completion.text, prompt=prompt or None)
    logprobs = [token.logprob for token in completion.logprobs or ()]
    fluency = judge.redundancy(-math.fsum(logprobs) / len(logprobs)) if logprobs else math.nan
    return replace(measured, fluency=fluency)


def _result(
    config: GenerationConfig, samples: Sequence[Sample], random: np.random.Generator
) -> ComparisonResult:
    qualities = _known(samples)
    return ComparisonResult(
        config=config,
        samples=tuple(samples),
        avg_quality=float(np.mean(qualities)) if qualities else math.nan,
        quality_spread=float(np.std(qualities, ddof=1)) if len(qualities) > 1 else 0.0,
        quality_interval=bootstrap_interval(qualities, random),
        avg_diversity=_mean_distance(distances([sample.text for sample in samples])),
        tokens_per_second=float(np.mean([sample.completion.tokens_per_second for sample in samples])),
        avg_tokens=float(np.mean([len(sample.completion.token_ids) for sample in samples])),
    )


def _verdicts(results: Sequence[ComparisonResult], random: np.random.Generator) -> Iterator[Verdict]:
    """One for each pair; all p-values of the comparison are corrected together."""
    pairs = list(itertools.combinations(range(len(results)), 2))
    p_values: list[float] = []
    for first, second in pairs:
        a, b = results[first].samples, results[second].samples
        p_values.append(difference_of_means(_known(a), _known(b), random))
        p_values.append(difference_within(distances([s.text for s in (*a, *b)]), len(a), random))
    corrected = holm(p_values)
    for number, (first, second) in enumerate(pairs):
        yield Verdict(
            first=first,
            second=second,
            quality_difference=results[second].avg_quality - results[first].avg_quality,
            quality_p=corrected[2 * number],
            diversity_difference=results[second].avg_diversity - results[first].avg_diversity,
            diversity_p=corrected[2 * number + 1],
        )


def _known(samples: Sequence[Sample]) -> list[float]:
    return [sample.quality for sample in samples if not math.isnan(sample.quality)]


def distances(texts: Sequence[str]) -> DoubleArray:
    """Jaccard distance of the word bigrams of every two texts, 0..1: [n, n]; texts without words are equal."""
    sets = [_ngrams(text) for text in texts]
    return np.array([[1 - _jaccard(a, b) for b in sets] for a in sets])


def _ngrams(text: str) -> set[tuple[str, ...]]:
    spoken = words(text)
    size = min(NGRAM, max(len(spoken), 1))
    return set(zip(*(spoken[start:] for start in range(size)), strict=False))


def _jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


def _mean_distance(between: DoubleArray) -> float:
    """Mean over different texts; 0 of a single one."""
    count = len(between)
    return float(between.sum() / (count * (count - 1))) if count > 1 else 0.0
