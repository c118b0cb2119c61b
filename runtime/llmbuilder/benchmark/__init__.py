"""What a user may expect of a bundle on this machine: loading, prompts, first token, tokens a second, memory.

A run is what `TextGenerator.complete_batch` does with so many prompts: all of the loop, greedy, with the text. Only are
all prompts computed before the first step here, so that prompts and steps can be told apart.
"""

from llmbuilder.benchmark.measuring import measure, place_of, run_benchmark
from llmbuilder.benchmark.plan import Plan
from llmbuilder.benchmark.report import Benchmark, RowsReport, Run, spread

__all__ = ["Benchmark", "Plan", "RowsReport", "Run", "measure", "place_of", "run_benchmark", "spread"]
