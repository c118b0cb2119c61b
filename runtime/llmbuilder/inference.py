"""The documented names of `llmbuilder.inference`."""

from llmbuilder.api import batch_generate, generate_text, stream_generate
from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.filtering import FilterReport, OutputFilter
from llmbuilder.generator import Completion, Score, TextGenerator
from llmbuilder.interactive.interface import InteractiveGenerator, interactive_cli
from llmbuilder.overrides import GenerationOptions
from llmbuilder.quality.compare import Comparison, ComparisonResult, Verdict, compare_generations
from llmbuilder.quality.evaluate import Evaluation, evaluate_generation
from llmbuilder.scheduling.asynchronous import AsyncTextGenerator
from llmbuilder.writing import CreativeWriter, Style, register_style

__all__ = [
    "AsyncTextGenerator",
    "ChatInterface",
    "Comparison",
    "ComparisonResult",
    "Completion",
    "ConstrainedGenerator",
    "CreativeWriter",
    "Evaluation",
    "FilterReport",
    "GenerationConfig",
    "GenerationOptions",
    "InteractiveGenerator",
    "OutputFilter",
    "Score",
    "Style",
    "TextGenerator",
    "Verdict",
    "batch_generate",
    "compare_generations",
    "evaluate_generation",
    "generate_text",
    "interactive_cli",
    "register_style",
    "stream_generate",
]
