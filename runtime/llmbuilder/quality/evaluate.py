"""`evaluate_generation`: all measures of a text, or of many."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from llmbuilder.checks import StrPath, check_length, check_text, check_texts
from llmbuilder.errors import ConfigError
from llmbuilder.quality.coherence import coherence
from llmbuilder.quality.fluency import fluency
from llmbuilder.quality.references import bleu, chrf, rouge_l
from llmbuilder.quality.relevance import relevance
from llmbuilder.quality.variety import diversity, repetition

if TYPE_CHECKING:
    from llmbuilder.checks import StrPath
    from llmbuilder.generator import Device
    from llmbuilder.quality.judge import Judge

MOST_CHARACTERS = 1_000_000
"""Of a text, and of its prompt: more than a novel has, measured in some seconds."""
MOST_COMPARED = 200_000
"""Of a text and a reference: the time of ROUGE-L grows with the product of their lengths."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the measures say of one text, each 0..1; nan where there is nothing to judge."""

    coherence: float
    """Whether there are sentences, in an order."""
    fluency: float
    """Whether words and letters follow each other as they do in the language."""
    relevance: float
    """Whether it goes on from its prompt; nan without one."""
    diversity: float
    """Variety of its words: moving-average type-token ratio (Covington and McFall, 2010)."""
    repetition: float
    """Share of repeated 4-grams: seq-rep-4 (Welleck et al., 2020); 0 is none."""
    bleu: float = math.nan
    """Likeness to the reference (Papineni et al., 2002), as all that follow; nan without one."""
    chrf: float = math.nan
    """Of characters (Popović, 2015)."""
    rouge_l: float = math.nan
    """Of word order (Lin, 2004)."""

    @property
    def quality(self) -> float:
        """Mean of coherence, fluency, relevance and 1 - repetition, those that are nan left out."""
        known = [
            value
            for value in (self.coherence, self.fluency, self.relevance, 1 - self.repetition)
            if not math.isnan(value)
        ]
        return math.fsum(known) / len(known) if known else math.nan


@overload
def evaluate_generation(
    generated_text: str,
    reference_text: str | None = None,
    prompt: str | None = None,
    model_path: "StrPath | None" = None,
    tokenizer_path: "StrPath | None" = None,
    *,
    device: "Device" = "auto",
    threads: int | None = None,
) -> Evaluation: ...
@overload
def evaluate_generation(
    generated_text: list[str] | tuple[str, ...],
    reference_text: str | Sequence[str | None] | None = None,
    prompt: str | Sequence[str | None] | None = None,
    model_path: "StrPath | None" = None,
    tokenizer_path: "StrPath | None" = None,
    *,
    device: "Device" = "auto",
    threads: int | None = None,
) -> list[Evaluation]: ...
def evaluate_generation(
    generated_text: str | list[str] | tuple[str, ...],
    reference_text: str | Sequence[str | None] | None = None,
    prompt: str | Sequence[str | None] | None = None,
    model_path: "StrPath | None" = None,
    tokenizer_path: "StrPath | None" = None,
    *,
    device: "Device" = "auto",
    threads: int | None = None,
) -> Evaluation | list[Evaluation]:
    """Measure the quality of generated text.

    Without a model from statistics of English text: `llmbuilder.quality.coherence.coherence`,
    `llmbuilder.quality.fluency.fluency`, `llmbuilder.quality.relevance.relevance`. With a model the same three from its
    own probabilities: `llmbuilder.quality.judge.Judge`. Diversity and repetition count words and need neither.

    Args:
        generated_text: a text, or a list of them for a list of evaluations.
        reference_text: what the text should be like, or one for each; BLEU and chrF need the extra ``metrics``.
        prompt: what the text continues, or one for each.
        model_path: a bundle or checkpoint to judge with.
        tokenizer_path: see `TextGenerator`, as ``device`` and ``threads``.
        device: where the model runs.
        threads: CPU threads of the model.

    Raises:
        ConfigError: what is no text, has half a character or more than `MOST_CHARACTERS`, with a reference more than
            `MOST_COMPARED`; lists of different lengths.
        ImportError: a reference is given and sacrebleu is not installed.
    """
    single = isinstance(generated_text, str)
    texts = check_texts("generated_text", [generated_text] if single else generated_text)
    references = _for_each(texts, reference_text, "reference_text")
    prompts = _for_each(texts, prompt, "prompt")
    for measured in zip(texts, references, prompts, strict=True):
        check_lengths(*measured)
    with _judge(model_path, tokenizer_path, device, threads) as judge:
        evaluations = [
            evaluate(text, reference, start, judge)
            for text, reference, start in zip(texts, references, prompts, strict=True)
        ]
    return evaluations[0] if single else evaluations


def evaluate(
    text: str, reference: str | None = None, prompt: str | None = None, judge: "Judge | None" = None
) -> Evaluation:
    """All measures of one text; coherence, fluency and relevance by the judge if there is one."""
    return Evaluation(
        coherence=judge.coherence(text) if judge else coherence(text),
        fluency=judge.fluency(text) if judge else fluency(text),
        relevance=math.nan if prompt is None else (judge.relevance if judge else relevance)(text, prompt),
        diversity=diversity(text),
        repetition=repetition(text),
        bleu=math.nan if reference is None else bleu(text, reference),
        chrf=math.nan if reference is None else chrf(text, reference),
        rouge_l=math.nan if reference is None else rouge_l(text, reference),
    )


def check_lengths(text: str, reference: str | None = None, prompt: str | None = None) -> None:
    """Refuse to measure a text of which it would take minutes.

    Raises:
        ConfigError: it, its reference or its prompt is too long.
    """
    check_length("A text", text, MOST_CHARACTERS, "Measure parts of it by themselves.")
    if prompt is not None:
        check_length("A prompt", prompt, MOST_CHARACTERS, "Give its end, where the text goes on.")
    if reference is not None:
        advice = "Compare parts of both by themselves."
        check_length("A text with a reference", text, MOST_COMPARED, advice)
        check_length("A reference", reference, MOST_COMPARED, advice)


def _for_each(texts: Sequence[str], given: str | Sequence[str | None] | None, name: str) -> list[str | None]:
    """One for each text of what may be given once for all."""
    if given is None:
        return [None] * len(texts)
    if isinstance(given, str):
        return [check_text(name, given)] * len(texts)
    if not isinstance(given, Sequence):
        raise ConfigError(f"{name} must be a text, or a list with one for each, got {type(given).__name__}.")
    if len(given) != len(texts):
        raise ConfigError(f"{name} must have one entry for each of the {len(texts)} texts, got {len(given)}.")
    return [one if one is None else check_text(f"An entry of {name}", one) for one in given]


@contextlib.contextmanager
def _judge(
    model: "StrPath | None", tokenizer: "StrPath | None", device: "Device", threads: int | None
) -> "Iterator[Judge | None]":
    """The judge of a model, if one is given."""
    if model is None:
        yield None
        return
    from llmbuilder.generator import TextGenerator
    from llmbuilder.quality.judge import Judge

    with TextGenerator(model, tokenizer, device=device, threads=threads) as generator:
        yield Judge(generator)
