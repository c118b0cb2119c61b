"""Deciding which texts may be shown: `OutputFilter`, its settings, and one module for each kind of check."""

from llmbuilder.filtering.gate import OutputGate
from llmbuilder.filtering.output_filter import FilterReport, OutputFilter

__all__ = ["FilterReport", "OutputFilter", "OutputGate"]
