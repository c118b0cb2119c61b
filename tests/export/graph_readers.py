"""Our reader of graphs beside protobuf's, which onnx and ONNX Runtime use: what ours takes, both must read alike."""

import struct
from collections.abc import Mapping
from random import Random
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Theirs
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import ModelProto
from wire import Node, Tree, change, parse

from llmbuilder.bundle.graphproto import MODEL, read_model
from llmbuilder.bundle.protobuf import GraphError, Schema

_DIMENSION = ("dim_value", "dim_param")
_GRAPH = 7


def difference(content: bytes) -> str | None:
    """What onnx' parser reads otherwise than ours; None if ours refuses, or both read the same.

    Raises:
        Exception: our reader fails with anything else than a `GraphError`.
    """
    try:
        ours = read_model(content)
    except GraphError:
        return None
    parsed = ModelProto()
    try:
        parsed.ParseFromString(content)
    except DecodeError as error:
        return f"onnx cannot read it: {error}"
    wanted, found = plain(parsed), _comparable(ours)
    return None if wanted == found else f"onnx reads {wanted}, we read {found}"


def plain(message: Theirs) -> dict[str, Any]:
    """What protobuf has read, as our reader returns it; unknown fields under their numbers."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = "dim" if field.name in _DIMENSION else field.name
        many = value if field.is_repeated else [value]
        values = [plain(each) if isinstance(each, Theirs) else _exactly(each) for each in many]
        found[name] = values if field.is_repeated else values[0]
    for unknown in UnknownFieldSet(message):
        found[str(unknown.field_number)] = unknown.wire_type
    return found


def _comparable(ours: Mapping[str, Any]) -> dict[str, Any]:
    """What our reader has read, without empty lists, which protobuf cannot tell from none."""
    found: dict[str, Any] = {}
    for name, value in ours.items():
        if isinstance(value, list):
            many = [_comparable(each) if isinstance(each, dict) else _exactly(each) for each in value]
            if many:
                found[name] = many
        else:
            found[name] = _comparable(value) if isinstance(value, dict) else _exactly(value)
    return found


def _exactly(value: object) -> object:
    """A value that is equal to itself only: a float by its bits, a number by its type."""
    return struct.pack("<f", value) if isinstance(value, float) else value


class Pieces:
    """Small pieces of real graphs: the file's own fields, around a few of the graph's."""

    def __init__(self, *graphs: bytes, schema: Schema = MODEL) -> None:
        """Take ``graphs`` apart, each an ONNX file."""
        self._trees = [parse(graph, schema) for graph in graphs]

    def changed(self, random: Random) -> bytes:
        """The bytes of a piece that was changed in ways readers may disagree about."""
        return change(self.piece(random), random)

    def piece(self, random: Random) -> Tree:
        """The file's fields in their order, the graph with a few of its own."""
        tree = random.choice(self._trees)
        return tuple(_thin(node, random) if node.number == _GRAPH else node for node in tree)


def _thin(graph: Node, random: Random) -> Node:
    assert isinstance(graph.value, tuple)
    few = sorted(random.sample(range(len(graph.value)), min(len(graph.value), random.randint(0, 4))))
    kept = tuple(graph.value[place] for place in few)
    return Node(graph.number, graph.wire, kept, graph.schema)
