"""Graphs for ONNX Runtime's CUDA provider: in half precision, with lengths that no device has to sum up."""

import onnx_ir as ir

from llmbuilder_export.cuda.groups import fill_groups
from llmbuilder_export.cuda.half import to_half
from llmbuilder_export.cuda.kernels import refuse_missing
from llmbuilder_export.cuda.lengths import lengths_from_positions
from llmbuilder_export.cuda.places import refuse_copies

__all__ = ["fill_groups", "for_cuda"]


def for_cuda(model: ir.Model, architecture: str) -> None:
    """Rewrite a fused and perhaps quantized graph in place, so that all of it can run on a card.

    Raises:
        ExportError: the model computes something that cannot, named by operator.
    """
    lengths_from_positions(model, architecture)
    to_half(model.graph, architecture)
    refuse_missing(model.graph, architecture)
    refuse_copies(model.graph, architecture)
