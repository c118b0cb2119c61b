"""A comparison as one HTML file for a browser or a phone, which loads nothing from anywhere and runs no scripts."""

import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from llmbuilder import installed
from llmbuilder.quality.compare import (
    SIGNIFICANT,
    Comparison,
    ComparisonResult,
    Sample,
    Verdict,
    distances,
)
from llmbuilder.quality.naming import common_options, name_of
from llmbuilder.quality.plot import Axis, axis_of
from llmbuilder.quality.significance import bootstrap_interval, pairs_interval

MEASURES: Mapping[str, tuple[str, Callable[[Sample], float]]] = {
    "quality": ("Mean of coherence, fluency, relevance and 1 - repetition.", lambda s: s.quality),
    "coherence": ("Whether there are sentences, in an order.", lambda s: s.evaluation.coherence),
    "fluency": ("Whether words follow each other as the model expects.", lambda s: s.evaluation.fluency),
    "relevance": ("Whether the text goes on from its prompt.", lambda s: s.evaluation.relevance),
    "variety": ("Variety of the words within a text.", lambda s: s.evaluation.diversity),
    "repetition": ("Share of repeated runs of four words; 0 is none.", lambda s: s.evaluation.repetition),
}
"""Each measure of a sample, what it says, and how it is read."""
DIVERSITY = "How different the samples of one configuration are from each other."


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In a sentence."""
        if math.isnan(self.value):
            return "not judged"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of a plot: a configuration's mean with its interval, and a dot for each sample."""

    name: str
    mean: Mean
    dots: Sequence[float]

    def values(self) -> list[float]:
        """All that the axis has to hold."""
        return [self.mean.value, self.mean.low, self.mean.high, *self.dots]


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure."""

    title: str
    caption: str
    strips: Sequence[Strip]

    @property
    def axis(self) -> Axis:
        """One that all strips share."""
        return axis_of([value for strip in self.strips for value in strip.values()])


def to_html(found: Comparison, prompt: str, *, model: str, seed: int | None, date: datetime) -> str:
    """The whole document: what was compared, means with intervals, verdicts, plots, all samples side by side.

    Args:
        found: what `compare` returned.
        prompt: what the samples continue.
        model: its name for readers.
        seed: that of the comparison.
        date: when it was made.
    """
    common = common_options(found)
    names = [name_of(result.config.options(), common) for result in found]
    means = [_means(result) for result in found]
    return _template().render(
        model=model,
        prompt=prompt,
        facts=dict(_facts(found, common, model, seed, date)),
        measures={**{name: text for name, (text, _) in MEASURES.items()}, "diversity": DIVERSITY},
        rows=list(zip(names, means, found, strict=True)),
        verdicts=[_verdict(verdict, names) for verdict in found.verdicts],
        plots=_plots(found, names, means),
        samples=list(_side_by_side(found, names)),
        nan=math.isnan,
    )


@cache
def _template() -> jinja2.Template:
    source = Path(__file__).with_name("comparison.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source)


def _facts(
    found: Comparison, common: Mapping[str, Any], model: str, seed: int | None, date: datetime
) -> Iterator[tuple[str, str]]:
    yield "Model", model
    yield "Samples", f"{len(found[0].samples)} of each configuration"
    if common:
        yield "All with", name_of(common)
    yield "Seed", "none" if seed is None else str(seed)
    yield "Date", f"{date:%Y-%m-%d %H:%M}"
    packages = ("llmbuilder-runtime", "onnxruntime", "onnxruntime-gpu", "numpy")
    versions = [f"{name} {version}" for name in packages if (version := installed.version(name))]
    yield "Versions", ", ".join([*versions, f"Python {platform.python_version()}"])


def _means(result: ComparisonResult) -> dict[str, Mean]:
    """Every measure's mean over the samples, by name; the same comparison has the same intervals."""
    random = np.random.default_rng(0)
    values = {name: [read(sample) for sample in result.samples] for name, (_, read) in MEASURES.items()}
    if _is_one_text(result):
        means = {name: Mean(known[0], math.nan, math.nan) for name, known in values.items()}
        return means | {"diversity": Mean(result.avg_diversity, math.nan, math.nan)}
    means = {name: _mean(known, random) for name, known in values.items()}
    means["quality"] = Mean(result.avg_quality, *result.quality_interval)
    between = distances([sample.text for sample in result.samples])
    return means | {"diversity": Mean(result.avg_diversity, *pairs_interval(between, random))}


def _different(result: ComparisonResult) -> Sequence[Sample]:
    return result.samples[:1] if _is_one_text(result) else result.samples


def _is_one_text(result: ComparisonResult) -> bool:
    """Whether all samples are one text, because nothing is drawn or because there is one."""
    return all(sample.completion is result.samples[0].completion for sample in result.samples)


def _mean(values: Sequence[float], random: np.random.Generator) -> Mean:
    known = [value for value in values if not math.isnan(value)]
    return Mean(math.fsum(known) / len(known) if known else math.nan, *bootstrap_interval(known, random))


def _plots(found: Comparison, names: Sequence[str], means: Sequence[Mapping[str, Mean]]) -> list[Plot]:
    plots = []
    for measure, (text, read) in MEASURES.items():
        dots = [[read(sample) for sample in _different(result)] for result in found]
        strips = [Strip(*row) for row in zip(names, (mean[measure] for mean in means), dots, strict=True)]
        if any(not math.isnan(strip.mean.value) for strip in strips):
            plots.append(Plot(measure.capitalize(), text, strips))
    between = [Strip(name, mean["diversity"], []) for name, mean in zip(names, means, strict=True)]
    return [plots[0], Plot("Diversity", DIVERSITY, between), *plots[1:]] if plots else []


def _verdict(verdict: Verdict, names: Sequence[str]) -> dict[str, Any]:
    return {
        "first": names[verdict.first],
        "second": names[verdict.second],
        "quality": _difference(verdict.quality_difference, verdict.quality_p, "better", "worse"),
        "diversity": _difference(
            verdict.diversity_difference, verdict.diversity_p, "more diverse", "less diverse"
        ),
    }


def _difference(difference: float, p: float, more: str, less: str) -> dict[str, Any]:
    if math.isnan(difference):
        return {"differs": False, "text": "not judged"}
    differs = p < SIGNIFICANT
    word = (more if difference > 0 else less) if differs else "not told apart"
    return {"differs": differs, "text": f"{word} ({difference:+.3f}, p = {p:.3f})"}


def _side_by_side(found: Comparison, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """The first sample of each configuration, then the second ...; a text that is always the same stands once."""
    for number in range(len(found[0].samples)):
        row = []
        for name, result in zip(names, found, strict=True):
            sample = result.samples[number]
            row.append({"name": name, "sample": sample, "is_repeated": number > 0 and _is_one_text(result)})
        yield row
