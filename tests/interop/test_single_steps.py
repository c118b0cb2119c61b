"""A chunk of a prompt beside the same tokens one by one: every node gives both the same bits, but attention.

ONNX Runtime attends with a kernel of its own for one token. So prompt lookup, which checks a draft as a chunk, may take
another token than steps do where two are as good as equal (docs/decisions/0031).
"""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from upstream_cases import SAMPLE as UPSTREAM

from llmbuilder.bundle.manifest import GRAPH_NAME
from llmbuilder.engine.session import session_options

TOKENS = 24
ATTENTION = "GroupQueryAttention"
FOLDER = "session.model_external_initializers_file_folder_path"


class Graph:
    """A bundle's graph, run whole or a node at a time."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.proto = onnx.load(bundle / GRAPH_NAME, load_external_data=False)
        self.weights = {each.name: each for each in self.proto.graph.initializer}

    def run(self, nodes, given, wanted):
        """Results by name of nodes that are given some arrays; weights they have."""
        used = {name for node in nodes for name in node.input}
        types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
        graph = onnx.helper.make_graph(
            nodes,
            "part",
            [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
            [onnx.ValueInfoProto(name=name) for name in wanted],
            [weight for name, weight in self.weights.items() if name in used - given.keys()],
        )
        proto = onnx.helper.make_model(
            graph, opset_imports=self.proto.opset_import, ir_version=self.proto.ir_version
        )
        options = session_options(ort, 2)
        options.add_session_config_entry(FOLDER, str(self.bundle))
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(wanted, session.run(wanted, given), strict=True))


def whole(graph):
    """Every result of the graph for a chunk of tokens that begins a row."""
    random = np.random.default_rng(4)
    feeds = {
        "input_ids": random.integers(100, size=(1, TOKENS)),
        "attention_mask": np.ones((1, TOKENS), np.int64),
        "position_ids": np.arange(TOKENS)[None],
    }
    for value in graph.proto.graph.input:
        if value.name not in feeds and value.name not in graph.weights:
            _, heads, _, size = (each.dim_value for each in value.type.tensor_type.shape.dim)
            feeds[value.name] = np.zeros((1, heads, TOKENS, size), np.float32)
    results = [name for node in graph.proto.graph.node for name in node.output if name]
    return feeds | graph.run(graph.proto.graph.node, feeds, results)


def has_tokens(array):
    return array.dtype == np.float32 and array.ndim >= 3 and array.shape[:2] == (1, TOKENS)


def differing(graph):
    """Names of operators that compute with each token, and of those that one token alone is given other bits by."""
    known = whole(graph)
    met, found = set(), set()
    for node in graph.proto.graph.node:
        given = {name: known[name] for name in node.input if name in known}
        results = [name for name in node.output if name and has_tokens(known[name])]
        if node.op_type == ATTENTION or not results or not all(map(has_tokens, given.values())):
            continue
        met.add(node.op_type)
        for token in range(TOKENS):
            part = {name: array[:, token : token + 1] for name, array in given.items()}
            alone = graph.run([node], part, results)
            if any(not np.array_equal(alone[name], known[name][:, token : token + 1]) for name in results):
                found.add(node.op_type)
    return met, found


@pytest.mark.parametrize(("quantization", "product"), [("none", "MatMul"), ("int8", "MatMulNBits")])
def test_nodes_other_than_attention_give_a_chunk_the_bits_of_single_steps(exported, quantization, product):
    met, found = differing(Graph(exported(UPSTREAM[-1], quantization)))
    assert product in met
    assert {name for name in met if "Normalization" in name}
    assert found == set()
