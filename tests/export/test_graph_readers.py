"""What our reader of graphs takes, onnx' own parser reads the same: over changed bytes of real graphs."""

from pathlib import Path
from random import Random

import pytest
from graph_readers import Pieces, difference, plain
from onnx import ModelProto
from wire import encode, parse

from llmbuilder.bundle.graphproto import MODEL, read_model
from llmbuilder.bundle.protobuf import GraphError

STORYTELLER = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle" / "model.onnx"
INPUTS = 4000
PROVED = 500_000


@pytest.fixture(scope="module")
def graphs(report):
    """A graph in float32, and one of 8 bits."""
    return [(report.path / "model.onnx").read_bytes(), STORYTELLER.read_bytes()]


def test_real_graphs_are_read_alike(graphs):
    for graph in graphs:
        assert encode(parse(graph, MODEL)) == graph
        assert difference(graph) is None
        parsed = ModelProto()
        parsed.ParseFromString(graph)
        assert len(plain(parsed)["graph"]["node"]) == len(read_model(graph)["graph"]["node"])


def test_changed_graphs_are_refused_or_read_alike(graphs, proving, record_proof):
    random, pieces, taken = Random(1), Pieces(*graphs), 0
    inputs = PROVED if proving else INPUTS
    for number in range(inputs):
        content = pieces.changed(random)
        found = difference(content)
        assert found is None, f"input {number}, {content.hex()}: {found}"
        taken += is_read(content)
    assert inputs * 0.05 < taken < inputs * 0.95
    record_proof("changed graphs", inputs=inputs, read_by_both=taken, read_differently=0)


def is_read(content):
    try:
        read_model(content)
    except GraphError:
        return False
    return True
