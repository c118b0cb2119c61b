"""The parts of an ONNX file that bundles have, and nothing else.

Numbers and names are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). What is missing here
is refused: functions, training graphs, sparse tensors, weights as lists of numbers, documentation.
"""

from llmbuilder.bundle.protobuf import Field, Kind, Message, Schema, read

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16 = 1, 2, 3, 6, 7, 9, 10
BYTES_OF = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8, BOOL: 1, FLOAT16: 2}
"""The element types of bundles, and the size of each."""
EXTERNAL = 1
"""TensorProto.DataLocation: the values lie in another file."""
_LAST_TYPE = 14
"""The largest AttributeProto.AttributeType."""

_ENTRY: Schema = {1: Field("key", Kind.TEXT), 2: Field("value", Kind.TEXT)}
_TENSOR: Schema = {
    1: Field("dims", Kind.INT64, repeated=True),
    2: Field("data_type", Kind.COUNT),
    8: Field("name", Kind.TEXT),
    9: Field("raw_data", Kind.BYTES),
    13: Field("external_data", _ENTRY, repeated=True),
    14: Field("data_location", Kind.COUNT, most=EXTERNAL),
}
_ATTRIBUTE: Schema = {
    1: Field("name", Kind.TEXT),
    2: Field("f", Kind.FLOAT),
    3: Field("i", Kind.INT64),
    4: Field("s", Kind.BYTES),
    8: Field("ints", Kind.INT64, repeated=True),
    20: Field("type", Kind.COUNT, most=_LAST_TYPE),
}
_DIMENSION: Schema = {1: Field("dim", Kind.INT64), 2: Field("dim", Kind.TEXT)}  # one of dim_value, dim_param
_SHAPE: Schema = {1: Field("dim", _DIMENSION, repeated=True)}
_TENSOR_TYPE: Schema = {1: Field("elem_type", Kind.COUNT), 2: Field("shape", _SHAPE)}
_VALUE: Schema = {
    1: Field("name", Kind.TEXT),
    2: Field("type", {1: Field("tensor_type", _TENSOR_TYPE)}),
    4: Field("metadata_props", _ENTRY, repeated=True),
}


def _node(attribute: Schema) -> Schema:
    return {
        1: Field("input", Kind.TEXT, repeated=True),
        2: Field("output", Kind.TEXT, repeated=True),
        3: Field("name", Kind.TEXT),
        4: Field("op_type", Kind.TEXT),
        5: Field("attribute", attribute, repeated=True),
        7: Field("domain", Kind.TEXT),
    }


_BRANCH: Schema = {
    1: Field("node", _node(_ATTRIBUTE), repeated=True),
    2: Field("name", Kind.TEXT),
    12: Field("output", _VALUE, repeated=True),
}
"""A graph in an attribute: it has no weights and no graphs of its own, and reads what is around it."""
_GRAPH: Schema = {
    1: Field("node", _node({**_ATTRIBUTE, 6: Field("g", _BRANCH)}), repeated=True),
    2: Field("name", Kind.TEXT),
    5: Field("initializer", _TENSOR, repeated=True),
    11: Field("input", _VALUE, repeated=True),
    12: Field("output", _VALUE, repeated=True),
    13: Field("value_info", _VALUE, repeated=True),
}
_OPSET: Schema = {1: Field("domain", Kind.TEXT), 2: Field("version", Kind.INT64)}
MODEL: Schema = {
    1: Field("ir_version", Kind.INT64),
    2: Field("producer_name", Kind.TEXT),
    3: Field("producer_version", Kind.TEXT),
    7: Field("graph", _GRAPH),
    8: Field("opset_import", _OPSET, repeated=True),
}


def read_model(content: bytes) -> Message:
    """Read an ONNX file into plain values.

    Raises:
        GraphError: the bytes are no such file, or hold what bundles never do.
    """
    return read(content, MODEL)
