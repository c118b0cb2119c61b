"""What is read, and what only some readers would read."""

import struct

import pytest
from onnx_writer import message, number, varint

from llmbuilder.bundle.protobuf import Field, GraphError, Kind, read

INNER = {1: Field("text", Kind.TEXT)}
SCHEMA = {
    1: Field("whole", Kind.INT64),
    2: Field("count", Kind.COUNT),
    3: Field("fraction", Kind.FLOAT),
    4: Field("bytes", Kind.BYTES),
    5: Field("inner", INNER),
    6: Field("wholes", Kind.INT64, repeated=True),
    7: Field("inners", INNER, repeated=True),
    8: Field("fractions", Kind.FLOAT, repeated=True),
    10: Field("choice", Kind.COUNT, most=14),
}
FLOAT = struct.pack("<f", 1.5)

READ = {
    "nothing": (b"", {}),
    "a whole number": (number(1, 300), {"whole": 300}),
    "a negative number": (number(1, 2**64 - 3), {"whole": -3}),
    "the largest count": (number(2, 2**31 - 1), {"count": 2**31 - 1}),
    "the last of an enumeration": (number(10, 14), {"choice": 14}),
    "a fraction": (b"\x1d" + FLOAT, {"fraction": 1.5}),
    "bytes": (message(4, b"\xff\0"), {"bytes": b"\xff\0"}),
    "a message in a message": (message(5, message(1, "é")), {"inner": {"text": "é"}}),
    "an empty message": (message(5), {"inner": {}}),
    "numbers one by one": (number(6, 1) + number(6, 2), {"wholes": [1, 2]}),
    "numbers in one field": (message(6, varint(1), varint(300)), {"wholes": [1, 300]}),
    "both": (number(6, 1) + message(6, varint(2)) + number(6, 3), {"wholes": [1, 2, 3]}),
    "packed fractions": (message(8, FLOAT, FLOAT), {"fractions": [1.5, 1.5]}),
    "fields in any order": (number(2, 1) + number(1, 1) + message(7) + message(5), None),
}


@pytest.mark.parametrize(("content", "expected"), READ.values(), ids=READ)
def test_reads_what_writers_write(content, expected):
    found = read(content, SCHEMA)
    assert expected is None or found == expected


REFUSED = {
    "a tag of more than 32 bits": (varint((1 << 32) | (5 << 3 | 2)) + varint(0), "too large or too long"),
    "a tag in more bytes than it needs": (b"\x88\x00\x01", "too large or too long"),
    "a number in more bytes than it needs": (b"\x08\x80\x00", "too large or too long"),
    "a number of more than 64 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "too large or too long"),
    "a count of more than 31 bits": (number(2, 2**31), "too large or too long"),
    "a value that its enumeration does not have": (number(10, 15), "too large or too long"),
    "a length in more bytes than it needs": (b"\x22\x81\x00a", "too large or too long"),
    "an unknown field": (number(9, 1), "unknown field 9"),
    "an unknown field inside": (message(5, number(2, 1)), "unknown field 2"),
    "field 0": (b"\x00\x00", "unknown field 0"),
    "the beginning of a group": (b"\x0b\x0c", "whole of wire type 3"),
    "an unknown wire type": (b"\x0f", "whole of wire type 7"),
    "a number where bytes belong": (number(4, 1), "bytes of wire type 0"),
    "a message where a number belongs": (message(1), "whole of wire type 2"),
    "a number of fixed size": (b"\x09" + bytes(8), "whole of wire type 1"),
    "a second value": (number(1, 1) + number(1, 1), "a second whole"),
    "a second message": (message(5) + message(5), "a second inner"),
    "a text that is none": (message(5, message(1, b"\xff")), "not UTF-8"),
    "an endless number": (b"\x08" + b"\x80" * 20, "unterminated number"),
    "an unfinished number": (b"\x08\x80", "unterminated number"),
    "a length behind the end": (b"\x22\x05\x00", "cut short"),
    "a length of exabytes": (b"\x22" + varint(2**62), "too large"),
    "a field that leaves its message": (message(5, b"\x0a\x05") + bytes(5), "cut short"),
    "a cut fraction": (b"\x1d\0\0", "cut short"),
    "cut packed fractions": (message(8, FLOAT[:3]), "cut short"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_readers_read_differently(content, reason):
    with pytest.raises(GraphError, match=reason):
        read(content, SCHEMA)


def test_a_file_of_nothing_but_tiny_fields_is_refused():
    with pytest.raises(GraphError, match="more than 1000000 fields"):
        read(message(6, bytes(1_000_001)), SCHEMA)
