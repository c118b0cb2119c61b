"""The documented names of `llmbuilder.inference`."""

from llmbuilder.api import batch_generate, generate_text, stream_generate
from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.generator import ConstrainedGenerator
from llmbuilder.filtering import FilterReport, OutputFilter
from llmbuilder.generator import Completion, Score, TextGenerator
from llmbuilder.quality.compare import Comparison, ComparisonResult, Verdict, compare_generations
from llmbuilder.quality.evaluate import Evaluation, evaluate_generation

__all__ = [
    "Comparison",
    "ComparisonResult",
    "Completion",
    "ConstrainedGenerator",
    "Evaluation",
    "FilterReport",
    "GenerationConfig",
    "OutputFilter",
    "Score",
    "TextGenerator",
    "Verdict",
    "batch_generate",
    "compare_generations",
    "evaluate_generation",
    "generate_text",
    "stream_generate",
]
