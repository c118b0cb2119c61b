"""Which graphs are loaded: those that exports write, and no other."""

from dataclasses import replace

import numpy as np
import pytest
from onnx_writer import (
    FLOAT,
    HIDDEN,
    LAYERS,
    WINDOW,
    initializer,
    message,
    node,
    number,
    tiny_facts,
    tiny_model,
    tiny_weights,
    value_info,
    varint,
)

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.manifest import WEIGHTS_NAME, LayerCache
from llmbuilder.errors import BundleError

WEIGHTS_SIZE = 1000
FACTS = tiny_facts()
TINY = tiny_model(tiny_weights())


def tiny_with(*graph_fields, model_fields=b""):
    """The tiny model with more fields in its graph and in the model itself."""
    graph = read_graph(TINY)
    return TINY[: -len(graph) - len(varint(len(graph))) - 1] + message(7, graph, *graph_fields) + model_fields


def read_graph(model):
    """The bytes of the graph, which is the last field of the model."""
    start = model.index(b"\x3a", 2)
    while True:
        size, at = 0, start + 1
        for shift in range(0, 35, 7):
            size |= (model[at] & 0x7F) << shift
            at += 1
            if model[at - 1] < 0x80:
                break
        if at + size == len(model):
            return model[at:]
        start = model.index(b"\x3a", start + 1)


@pytest.fixture
def check(tmp_path):
    """Check the bytes of a graph."""

    def check(content, weights_size=WEIGHTS_SIZE, facts=FACTS):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        check_graph(path, facts, weights_size)

    return check


def entry(key, value):
    """One entry of TensorProto.external_data."""
    return message(13, message(1, key), message(2, value))


def tensor(*, location=WEIGHTS_NAME, offset="0", length="40", external=True, more=b""):
    """A weight of ten numbers with external data; an entry that is None is left out."""
    entries = {"location": location, "offset": offset, "length": length}
    return message(
        5,
        number(1, 10),  # dims
        number(2, FLOAT),
        message(8, "more"),
        *(entry(key, value) for key, value in entries.items() if value is not None),
        number(14, 1) if external else b"",
        more,
    )


def integers(name, *values):
    return initializer(name, np.array(values, np.int64))


def zeros(name, *shape):
    return initializer(name, np.zeros(shape, np.float32))


CONDITION = node("Greater", "one one", "is_so")


def choice(*branches, outputs="more"):
    """An If with these graphs, the first of them taken if the condition holds."""
    attributes = [
        message(5, message(1, f"{name}_branch"), message(6, branch), number(20, 5))
        for name, branch in zip(("then", "else"), branches, strict=False)
    ]
    made = (message(2, name) for name in outputs.split())
    return message(1, message(1, "is_so"), *made, message(4, "If"), *attributes)


def branch(name, *nodes):
    """A graph of these nodes that gives the value of this name."""
    return b"".join(nodes) + message(12, message(1, name))


THIS, OTHER = branch("this", node("Neg", "x0", "this")), branch("other", node("Abs", "x0", "other"))
GOOD = {
    "no graph at all": b"",
    "a tiny model": TINY,
    "a tiny model of version 1": tiny_model(tiny_weights(), version=1),
    "external weights": tiny_with(tensor()),
    "the end of the weights file": tiny_with(tensor(offset=str(WEIGHTS_SIZE - 40))),
    "no offset": tiny_with(tensor(offset=None)),
    "a repeated value": tiny_with(integers("shape", 1, 1, HIDDEN), node("Expand", "x0 shape", "wide")),
    "a matrix read twice": tiny_with(node("MatMul", "kept head", "again")),
    "one of two ways": tiny_with(CONDITION, choice(THIS, OTHER)),
    "a table read often": tiny_with(*(node("Gather", "positions position_ids", f"p{n}") for n in range(9))),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_accepts_what_bundles_hold(check, content):
    check(content)


def weights_at(location):
    return tiny_with(tensor(location=location))


def a_range(offset, length):
    return tiny_with(tensor(offset=offset, length=length))


def attribute(*fields):
    return tiny_with(
        message(1, message(1, "logits"), message(4, "Neg"), message(5, message(1, "a"), *fields))
    )


def op(kind, inputs, *fields, domain="", **attributes):
    return tiny_with(*fields, node(kind, inputs, "more", domain, **attributes))


OTHER_FILES = {
    "weights up the tree": (weights_at("../model.onnx.data"), r"reads weights from '\.\./model.onnx.data'"),
    "weights at an absolute path": (weights_at("/etc/passwd"), "reads weights from '/etc/passwd'"),
    "weights in another file": (weights_at("tokenizer.model"), "reads weights from 'tokenizer.model'"),
    "weights with a dot before": (weights_at("./" + WEIGHTS_NAME), "reads weights from"),
    "weights at an address": (weights_at("*/_ORT_MEM_ADDR_/*"), "reads weights from"),
    "weights nowhere": (weights_at(None), "reads weights from None"),
    "a place that is not used": (tiny_with(tensor(external=False)), "say clearly"),
    "external without entries": (
        tiny_with(tensor(location=None, offset=None, length=None)),
        "say clearly where the weights 'more' lie",
    ),
    "weights here and elsewhere": (tiny_with(tensor(more=message(9, bytes(40)))), "say clearly"),
    "an unknown kind of place": (
        tiny_with(message(5, number(2, FLOAT), message(8, "w"), message(9, bytes(4)), number(14, 2))),
        "too large",
    ),
    "two places": (tiny_with(tensor(more=entry("location", "other"))), "reads weights from 'other'"),
    "two offsets": (tiny_with(tensor(more=entry("offset", "4"))), "more of the place"),
    "an unknown entry": (tiny_with(tensor(more=entry("basepath", "/"))), "more of the place"),
    "a range behind the end": (a_range("961", "40"), "bytes 961 to 1001 of 1000"),
    "a negative offset": (a_range("-1", "40"), "missing or no plain number"),
    "a negative length": (a_range("5", "-3"), "missing or no plain number"),
    "no length": (a_range("0", None), "missing or no plain number"),
    "an offset in words": (a_range("zero", "40"), "missing or no plain number"),
    "digits only Python reads": (a_range("0", "4_0"), "missing or no plain number"),
    "digits of another script": (a_range("٣", "40"), "missing or no plain number"),
    "a number too long to read": (a_range("9" * 5000, "40"), "missing or no plain number"),
}
HIDDEN_PARTS = {
    "sparse weights": (tiny_with(message(15)), "unknown field 15"),
    "weights as a list of numbers": (
        tiny_with(message(5, number(2, FLOAT), message(4, bytes(4)))),
        "unknown field 4",
    ),
    "functions": (tiny_with(model_fields=message(25, message(1, "f"))), "unknown field 25"),
    "training graphs": (tiny_with(model_fields=message(20, message(1))), "unknown field 20"),
    "a second graph": (tiny_with(model_fields=message(7)), "a second graph"),
    "a graph under a tag of 33 bits": (varint(1 << 32 | 0x3A) + varint(0), "too large or too long"),
    "a graph that no operator has": (attribute(message(6)), "the operator Neg with 'a'"),
    "a branch in a branch": (
        tiny_with(CONDITION, choice(THIS, branch("other", choice(THIS, OTHER, outputs="other")))),
        "unknown field 6",
    ),
    "weights in a branch": (tiny_with(CONDITION, choice(THIS, OTHER + zeros("w", 1))), "unknown field 5"),
    "an input of a branch": (tiny_with(CONDITION, choice(THIS, OTHER + message(11))), "unknown field 11"),
    "subgraphs": (attribute(message(11)), "unknown field 11"),
    "a tensor in an attribute": (attribute(message(5)), "unknown field 5"),
    "a graph that is a number": (number(7, 1), "wire type 0"),
}
OPERATORS = {
    "an unknown domain": (tiny_with(node("Evil", "logits", "x", "my.ops")), "the operator my.ops.Evil,"),
    "an unknown operator": (op("Loop", "logits"), "the operator Loop,"),
    "no operator": (tiny_with(message(1, message(1, "logits"))), "the operator without a name,"),
    "a known operator of the other domain": (op("MatMulNBits", "logits"), "the operator MatMulNBits,"),
    "the long name of a domain": (op("Neg", "logits", domain="ai.onnx"), "the operator ai.onnx.Neg,"),
    "an unknown attribute": (op("Neg", "logits", axis=1), "the operator Neg with 'axis'"),
    "an attribute of another type": (
        tiny_with(
            message(
                1,
                message(1, "logits"),
                message(4, "Concat"),
                message(5, message(1, "axis"), message(4, "1"), number(20, 3)),
            )
        ),
        "the operator Concat with 'axis'",
    ),
    "an attribute twice": (
        tiny_with(
            message(
                1,
                message(1, "logits"),
                message(4, "Concat"),
                *2 * [message(5, message(1, "axis"), number(3, 1), number(20, 2))],
            )
        ),
        "Concat an attribute twice",
    ),
    "an attribute with two values": (
        tiny_with(
            message(
                1,
                message(4, "Concat"),
                message(5, message(1, "axis"), number(3, 1), message(4, "x"), number(20, 2)),
            )
        ),
        "of several types",
    ),
    "another version of the operators": (
        tiny_with(model_fields=message(8, number(2, 21))),
        "operators of other versions",
    ),
    "operators of another domain": (
        tiny_with(model_fields=message(8, message(1, "my.ops"), number(2, 1))),
        "operators of other versions",
    ),
    "more operators than layers need": (
        tiny_with(*(node("Neg", "logits", f"n{n}") for n in range(800))),
        "more than 768 for 2 layers",
    ),
    "an unknown operator in a branch": (
        tiny_with(CONDITION, choice(THIS, branch("other", node("Loop", "x0", "other")))),
        "the operator Loop,",
    ),
    "a matrix read three times, also in branches": (
        tiny_with(
            CONDITION,
            choice(
                branch("this", node("MatMul", "kept head", "this")),
                branch("other", node("MatMul", "kept head", "other")),
            ),
        ),
        "multiplies by the weights 'head' 3 times",
    ),
    "a matrix read three times": (
        tiny_with(*(node("MatMul", "kept head", f"h{n}") for n in range(2))),
        "multiplies by the weights 'head' 3 times",
    ),
}
SIZES = {
    "a weight larger than its bytes": (
        tiny_with(message(5, number(1, 9), number(2, FLOAT), message(8, "w"), message(9, bytes(4)))),
        "4 bytes of weights 'w', whose shape wants 36",
    ),
    "a weight of an unknown type": (
        tiny_with(message(5, number(2, 8), message(8, "w"), message(9, bytes(4)))),
        "unknown type 8",
    ),
    "a weight of negative size": (
        tiny_with(message(5, number(1, 2**64 - 1), number(2, FLOAT), message(8, "w"))),
        "impossible shape",
    ),
    "shapes that differ": (op("Add", "logits x0"), "does not add up at Add"),
    "a product that does not fit": (op("MatMul", "x0 positions"), "cannot be multiplied"),
    "an input that is missing": (op("Add", "logits"), "input 1 is missing"),
    "a value that nobody made": (op("Neg", "nothing"), "reads 'nothing' with Neg"),
    "a value made later": (
        tiny_with(node("Neg", "b", "a"), node("Neg", "logits", "b")),
        "before it is made",
    ),
    "a value made twice": (tiny_with(node("Neg", "x0", "logits")), "makes 'logits' twice"),
    "a weight twice": (tiny_with(zeros("head", 1)), "two weights of the name 'head'"),
    "no other way": (tiny_with(CONDITION, choice(THIS)), "branches of If"),
    "branches that make different things": (
        tiny_with(CONDITION, choice(THIS, branch("other", node("Add", "one one", "other")))),
        "branches of If .* that differ in what they make",
    ),
    "a branch that does not make what it gives": (
        tiny_with(CONDITION, choice(THIS, branch("nothing", node("Abs", "x0", "other")))),
        "ends a branch of If",
    ),
    "a branch that reads what the other makes": (
        tiny_with(CONDITION, choice(THIS, branch("other", node("Abs", "this", "other")))),
        "reads 'this' with Abs .* before it is made",
    ),
    "another input": (tiny_with(value_info(11, "secret", FLOAT, 1)), "an input 'secret'"),
    "a layer more": (
        tiny_with(value_info(11, "past_key_values.2.key", FLOAT, "b", 1, "p", 8)),
        "which no model of 2 layers has",
    ),
}
GROWTH = {
    "an enormous Expand": (
        op("Expand", "one shape", integers("shape", 1 << 20, 1 << 20)),
        "too many numbers: 1099511627776 with Expand",
    ),
    "an enormous Expand in a branch": (
        tiny_with(
            CONDITION,
            integers("shape", 1 << 20, 1 << 20), choice(THIS, branch("other", node("Expand", "one shape", "other")))
        ),
        "too many numbers: 1099511627776 with Expand",
    ),
    "an Expand to a shape from the prompt": (op("Expand", "one input_ids"), "no constant and no shape"),
    "an enormous Tile": (op("Tile", "ones times", integers("times", 1 << 30)), "too many numbers"),
    "enormous zeros": (op("ConstantOfShape", "shape", integers("shape", 1 << 30)), "too many numbers"),
    "an enormous Range": (
        op("Range", "zero many one", integers("zero", 0), integers("many", 1 << 30)),
        "too many numbers",
    ),
    "an enormous Pad": (op("Pad", "ones pads", integers("pads", 0, 1 << 30)), "too many numbers"),
    "a window squared": (
        tiny_with(
            zeros("column", 50_000, 1),
            zeros("row", 1, 50_000),
            node("Mul", "column row", "table"),
        ),
        "too many numbers: 2500000000",
    ),
    "doubling again and again": (
        tiny_with(*(node("Concat", f"d{n} d{n}", f"d{n + 1}", axis=0) for n in range(60)), zeros("d0", 9)),
        "too many numbers",
    ),
    "a small matrix for more groups than it is worth": (
        tiny_with(
            zeros("features", 1, 128),
            zeros("turn", 96, 96),
            integers("groups", WINDOW, 10, 96),
            node("Expand", "one groups", "grouped"),
            node("MatMul", "grouped turn", "turned"),
        ),
        "multiplies more than any model does with MatMul",
    ),
    "many large values": (
        tiny_with(zeros("wide", 4000), *(node("Expand", "wide shape", f"w{n}") for n in range(400)),
                  integers("shape", 1, WINDOW, 4000)),
        "too many numbers",
    ),
}  # fmt: skip
REFUSED = OTHER_FILES | HIDDEN_PARTS | OPERATORS | SIZES | GROWTH


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_bundles_never_hold(check, content, reason):
    with pytest.raises(BundleError, match=reason):
        check(content)


def test_external_weights_need_a_listed_weights_file(check):
    with pytest.raises(BundleError, match="reads weights from"):
        check(GOOD["external weights"], weights_size=None)


def test_a_cache_of_another_shape_than_the_manifests_is_refused(check):
    with pytest.raises(BundleError, match="where the model's is"):
        check(TINY, facts=replace(FACTS, layers=(LayerCache(heads=9, key_size=8, value_size=8),) * LAYERS))


def test_attention_of_fewer_heads_than_the_manifests_is_refused(check):
    with pytest.raises(BundleError, match="attention of 2 heads, where the model has 3"):
        check(TINY, facts=replace(FACTS, num_attention_heads=3))


@pytest.mark.parametrize("name", ["input_ids", "logits_start", "past_key_values.1.value"])
def test_an_input_that_is_missing_is_refused(check, name):
    with pytest.raises(BundleError):
        check(tiny_model(tiny_weights(), leave_out=name))


def test_a_graph_of_too_many_bytes_is_refused_unread(check):
    with pytest.raises(BundleError, match="too many for a graph"):
        check(bytes((32 << 20) + 1))


def test_every_shorter_version_of_a_graph_is_refused(check):
    for length in range(1, len(TINY), 7):
        try:
            check(TINY[:length])
        except BundleError:
            continue
        # What is left is whole fields only: nothing of the graph.
        assert b"input_ids" not in TINY[:length]
