"""Export only operators that bundles have."""

import onnx_ir as ir

from llmbuilder.bundle.operators import unknown
from llmbuilder_export.networks.refusals import refusal


def refuse_unknown(model: ir.Model, architecture: str) -> None:
    """Raise if a runtime would not load the graph for its operators.

    Raises:
        ExportError: an operator, or one of its attributes, is not among `llmbuilder.bundle.operators`.
    """
    for node in model.graph.all_nodes():
        attributes = {name: attribute.type.value for name, attribute in node.attributes.items()}
        if odd := unknown(node.domain, node.op_type, attributes):
            raise refusal(architecture, f"it computes with the operator {odd}, which bundles do not have")
