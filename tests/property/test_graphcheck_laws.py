import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_writer import tiny_model, tiny_weights

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.protobuf import parse
from llmbuilder.errors import BundleError

often = settings(max_examples=150, derandomize=True)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Where each example's graph is written."""
    return tmp_path_factory.mktemp("graph") / "model.onnx"


@pytest.fixture(scope="module")
def whole():
    """A graph that ONNX Runtime runs."""
    return tiny_model(tiny_weights())


def accepts(graph, content):
    """Whether the check passes; anything but a BundleError is a failure."""
    graph.write_bytes(content)
    try:
        check_graph(graph, 100)
    except BundleError:
        return False
    return True


def test_a_real_graph_is_accepted(graph, whole):
    assert accepts(graph, whole)


@often
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_accepted_or_refused_but_nothing_else(graph, content):
    accepts(graph, content)


@often
@given(data=st.data())
def test_changed_bytes_of_a_real_graph_are_accepted_or_refused_but_nothing_else(graph, whole, data):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    accepts(graph, bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@often
@given(content=st.binary(max_size=200))
def test_fields_lie_inside_the_message_and_one_after_the_other(content):
    total = 0
    try:
        for _, value in parse(memoryview(content)):
            total += 1 if isinstance(value, int) else len(value)
    except BundleError:
        pass
    assert total <= len(content)
