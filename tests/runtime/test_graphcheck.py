import pytest
from onnx_writer import message, number, varint

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.bundle.protobuf import parse
from llmbuilder.errors import BundleError

WEIGHTS_SIZE = 1000


def model(*graph_fields):
    return number(1, 8) + message(7, *graph_fields)


def node(*fields, op="Add", domain=""):
    return message(1, message(4, op), message(7, domain), *fields)


def entry(key, value):
    """One entry of TensorProto.external_data."""
    return message(13, message(1, key), message(2, value))


def tensor(field, *, location=WEIGHTS_NAME, offset="0", length="10", external=True):
    """TensorProto with external data; an entry that is None is left out."""
    entries = {"location": location, "offset": offset, "length": length}
    return message(
        field,
        number(1, 4),  # dims
        number(2, 1),  # data type
        message(8, "weight"),
        *(entry(key, value) for key, value in entries.items() if value is not None),
        number(14, 1) if external else b"",
    )


@pytest.fixture
def check(tmp_path):
    """Check the bytes of a graph."""

    def check(content, weights_size=WEIGHTS_SIZE):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        check_graph(path, weights_size)

    return check


INITIALIZER = 5

GOOD = {
    "nothing": b"",
    "an empty graph": model(),
    "known operators": model(
        node(), node(op="GroupQueryAttention", domain="com.microsoft"), node(domain="ai.onnx")
    ),
    "an operator without a domain": model(message(1, message(4, "Add"))),
    "attributes": model(node(message(5, message(1, "axis"), number(3, 1), number(20, 2)))),
    "a constant tensor": model(node(message(5, message(5, number(1, 1), message(9, b"\0\0\0\0"))))),
    "weights inside": model(message(INITIALIZER, number(1, 1), message(8, "w"), message(9, b"\0\0\0\0"))),
    "external weights": model(tensor(INITIALIZER)),
    "the whole weights file": model(tensor(INITIALIZER, length=str(WEIGHTS_SIZE))),
    "no bytes at the end": model(tensor(INITIALIZER, offset=str(WEIGHTS_SIZE), length="0")),
    "no offset": model(tensor(INITIALIZER, offset=None)),
    "fields of other types": varint(30 << 3 | 1) + bytes(8) + varint(31 << 3 | 5) + bytes(4),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_accepts_what_bundles_hold(check, content):
    check(content)


def outside(location):
    return model(tensor(INITIALIZER, location=location))


def a_range(offset, length):
    return model(tensor(INITIALIZER, offset=offset, length=length))


def attribute(*fields):
    return model(node(message(5, message(1, "value"), *fields)))


REFUSED = {
    "weights up the tree": (outside("../model.onnx.data"), r"reads weights from '\.\./model.onnx.data'"),
    "weights at an absolute path": (outside("/etc/passwd"), "reads weights from '/etc/passwd'"),
    "weights in another file": (outside("tokenizer.model"), "reads weights from 'tokenizer.model'"),
    "weights with a dot before": (outside("./" + WEIGHTS_NAME), "reads weights from"),
    "weights at an address": (outside("*/_ORT_MEM_ADDR_/*"), "reads weights from"),
    "weights nowhere": (outside(None), "reads weights from None"),
    "weights with only a place": (
        model(tensor(INITIALIZER, location="other", external=False)),
        "reads weights from 'other'",
    ),
    "external without entries": (
        model(tensor(INITIALIZER, location=None, offset=None, length=None)),
        "reads weights from None",
    ),
    "the last of two places": (
        model(message(INITIALIZER, entry("location", WEIGHTS_NAME), entry("location", "other"))),
        "reads weights from 'other'",
    ),
    "a range behind the end": (a_range("991", "10"), "bytes 991 to 1001 of 1000"),
    "an offset behind the end": (a_range("1001", "0"), "bytes 1001 to 1001 of 1000"),
    "a negative offset": (a_range("-1", "10"), "missing or no plain number"),
    "a negative length": (a_range("5", "-3"), "missing or no plain number"),
    "no length": (a_range("0", None), "missing or no plain number"),
    "an offset in words": (a_range("zero", "10"), "missing or no plain number"),
    "a fraction": (a_range("0.5", "10"), "missing or no plain number"),
    "digits only Python reads": (a_range("1_0", "10"), "missing or no plain number"),
    "digits of another script": (a_range("٣", "10"), "missing or no plain number"),
    "a number too long to read": (a_range("9" * 5000, "10"), "missing or no plain number"),
    "sparse weights": (model(message(15)), "sparse"),
    "functions": (model() + message(25, message(1, "f")), "defines functions"),
    "training graphs": (model() + message(20, message(1)), "training"),
    "an unknown domain": (model(node(op="Evil", domain="my.ops")), "Evil of the unknown domain b'my.ops'"),
    "a domain before its operator": (model(message(1, message(7, "my.ops"), message(4, "Evil"))), "Evil"),
    "a domain that is no text": (model(message(1, message(7, b"\xff"))), "unknown domain"),
    "a subgraph": (attribute(message(6)), "holds a subgraph"),
    "subgraphs": (attribute(message(11)), "holds subgraphs"),
    "a sparse attribute": (attribute(message(22)), "holds a sparse tensor"),
    "sparse attributes": (attribute(message(23)), "holds sparse tensors"),
    "external data in an attribute": (attribute(tensor(5)), "reads weights from"),
    "external data in a list attribute": (attribute(tensor(10)), "reads weights from"),
    "a second graph": (model() + model(node(domain="my.ops")), "unknown domain"),
    "a graph that is a number": (number(7, 1), "a number stands where a message belongs"),
    "a node that is a number": (model(number(1, 1)), "a number stands"),
    "a domain that is a number": (model(message(1, number(7, 1))), "a number stands"),
    "a tensor that is a number": (model(number(INITIALIZER, 1)), "a number stands"),
    "an entry that is a number": (model(message(INITIALIZER, number(13, 1))), "a number stands"),
    "groups": (b"\x0b\x0c", "wire type 3"),
    "an unknown wire type": (b"\x0f", "wire type 7"),
    "an endless number": (b"\x80" * 20, "unterminated number"),
    "an unfinished number": (b"\x08\x80", "unterminated number"),
    "a length behind the end": (b"\x3a\x05\x00", "cut short"),
    "a length of exabytes": (b"\x3a" + varint(2**62), "cut short"),
    "a cut fixed number": (b"\x09\x00", "cut short"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_bundles_never_hold(check, content, message):
    with pytest.raises(BundleError, match=message):
        check(content)


def test_external_weights_need_a_listed_weights_file(check):
    with pytest.raises(BundleError, match="reads weights from"):
        check(GOOD["external weights"], weights_size=None)


def test_every_shorter_version_of_a_graph_is_checked_without_surprise(check):
    whole = model(node(domain="com.microsoft"), tensor(INITIALIZER))
    for length in range(len(whole)):
        try:
            check(whole[:length])
        except BundleError:
            continue
        # What is left is whole fields only: nothing of the graph.
        assert length in (0, len(number(1, 8)))


def test_fields_come_in_order_with_numbers_decoded_and_bytes_shared():
    content = number(1, 300) + message(2, b"ab") + varint(3 << 3 | 5) + b"wxyz"
    fields = list(parse(memoryview(content)))
    assert [(field, value if isinstance(value, int) else bytes(value)) for field, value in fields] == [
        (1, 300),
        (2, b"ab"),
        (3, b"wxyz"),
    ]
    assert all(value.obj is content for _, value in fields[1:])
