"""Exports hold known operators only, and say which other one a model would need."""

import numpy as np
import onnx_ir as ir
import pytest

from llmbuilder.errors import ExportError
from llmbuilder_export.operators import refuse_unknown


def graph_of(*nodes):
    return ir.Model(ir.Graph([], [], nodes=nodes), ir_version=10)


def test_known_operators_pass():
    x = ir.Value(name="x")
    refuse_unknown(graph_of(ir.node("Concat", [x, x], {"axis": 0}), ir.node("Neg", [x])), "gpt")


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (ir.node("NonZero", []), "NonZero"),
        (ir.node("Attention", [], domain="com.microsoft"), "com.microsoft.Attention"),
        (ir.node("Neg", [], domain="my.ops"), "my.ops.Neg"),
        (ir.node("Neg", [], {"axis": 1}), "Neg with 'axis'"),
        (ir.node("Concat", [], {"axis": "0"}), "Concat with 'axis'"),
        (ir.node("ConstantOfShape", [], {"value": ir.tensor(np.ones(1))}), "ConstantOfShape with 'value'"),
    ],
)
def test_another_operator_ends_the_export_by_name(node, name):
    with pytest.raises(ExportError, match=f"gpt cannot be exported: it computes with the operator {name},"):
        refuse_unknown(graph_of(node), "gpt")
