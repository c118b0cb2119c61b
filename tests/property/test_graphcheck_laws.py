import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_writer import tiny_facts, tiny_model, tiny_weights

from llmbuilder.bundle.graphcheck import check_content
from llmbuilder.bundle.graphproto import read_model
from llmbuilder.bundle.protobuf import GraphError
from llmbuilder.errors import BundleError

often = settings(max_examples=150, derandomize=True)


@pytest.fixture(scope="module")
def whole():
    """A graph that ONNX Runtime runs."""
    return tiny_model(tiny_weights())


def accepts(content, path="model.onnx"):
    """Whether the check passes; anything but a BundleError is a failure."""
    try:
        check_content(content, path, tiny_facts(), 100)
    except BundleError:
        return False
    return True


def test_a_real_graph_is_accepted(whole):
    assert accepts(whole)


@often
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_accepted_or_refused_but_nothing_else(content):
    accepts(content)


@often
@given(data=st.data())
def test_changed_bytes_of_a_real_graph_are_accepted_or_refused_but_nothing_else(whole, data):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    accepts(bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@often
@given(content=st.binary(max_size=200))
def test_what_is_read_is_no_more_than_what_is_there(content):
    try:
        found = read_model(content)
    except GraphError:
        return
    assert len(repr(found)) < 100 + 30 * len(content)
