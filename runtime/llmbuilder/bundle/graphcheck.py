"""Look at a graph before ONNX Runtime does: only known operators, only its own weights file.

ONNX Runtime follows hard links and has had path traversal bugs in external data (CVE-2022-25882,
CVE-2024-27318, CVE-2026-27489); a bundle may come from anywhere, so its graph is checked first.
Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.bundle.protobuf import parse
from llmbuilder.errors import BundleError

_DOMAINS = (b"", b"ai.onnx", b"com.microsoft")
_MODEL_GRAPH = 7
_MODEL_REFUSED = {20: "training graphs", 25: "functions"}
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
_ATTRIBUTE_REFUSED = {6: "a subgraph", 11: "subgraphs", 22: "a sparse tensor", 23: "sparse tensors"}
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


def check_graph(graph: Path, weights_size: int | None) -> None:
    """Refuse a graph that could reach outside its bundle.

    Args:
        graph: the ``.onnx`` file.
        weights_size: bytes in the weights file beside it, or None if the manifest lists none.

    Raises:
        BundleError: unknown operator domains, functions, subgraphs, or external data that is not a range of the
            bundle's own weights file.
    """
    for field, value in parse(memoryview(graph.read_bytes())):
        if field in _MODEL_REFUSED:
            raise BundleError(
                f"{graph} defines {_MODEL_REFUSED[field]}, which bundles never do. Do not trust this file."
            )
        if field == _MODEL_GRAPH:
            _check_graph_proto(_message(value), graph, weights_size)


def _check_graph_proto(proto: memoryview, graph: Path, weights_size: int | None) -> None:
    for field, value in parse(proto):
        if field == _GRAPH_NODE:
            _check_node(_message(value), graph)
        elif field == _GRAPH_INITIALIZER:
            _check_tensor(_message(value), graph, weights_size)
        elif field == _GRAPH_SPARSE:
            raise BundleError(
                f"{graph} holds sparse weights, which bundles never do. Do not trust this file."
            )


def _check_node(proto: memoryview, graph: Path) -> None:
    node = list(parse(proto))
    operator = next(
        (bytes(_message(v)).decode("utf-8", "replace") for f, v in node if f == _NODE_OP_TYPE), "?"
    )
    for field, value in node:
        if field == _NODE_DOMAIN and bytes(_message(value)) not in _DOMAINS:
            raise BundleError(f"{graph} uses {operator} of the unknown domain {bytes(_message(value))!r}.")
        if field == _NODE_ATTRIBUTE:
            _check_attribute(_message(value), operator, graph)


def _check_attribute(proto: memoryview, operator: str, graph: Path) -> None:
    for field, value in parse(proto):
        if field in _ATTRIBUTE_REFUSED:
            raise BundleError(
                f"{graph}: {operator} holds {_ATTRIBUTE_REFUSED[field]}, which bundles never do."
            )
        if field in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value), graph, None)


def _check_tensor(proto: memoryview, graph: Path, weights_size: int | None) -> None:
    """Refuse external data other than a range inside the bundle's weights file."""
    fields = list(parse(proto))
    entries = dict(_entry(_message(value)) for field, value in fields if field == _TENSOR_EXTERNAL)
    external = any(field == _TENSOR_LOCATION and value != 0 for field, value in fields)
    if not external and not entries:
        return
    location = entries.get("location")
    if location != WEIGHTS_NAME or weights_size is None:
        raise BundleError(
            f"{graph} reads weights from {location!r}; a bundle's lie in {WEIGHTS_NAME!r}. Do not trust it."
        )
    # ONNX Runtime reads plain digits only; int() alone would also take "1_0" or other scripts' digits.
    match = re.fullmatch(
        "([0-9]{1,19}) ([0-9]{1,19})", f"{entries.get('offset', '0')} {entries.get('length')}"
    )
    if match is None:
        raise BundleError(
            f"{graph} names a range of weights whose offset or length is missing or no plain number."
        )
    offset, length = int(match[1]), int(match[2])
    if offset + length > weights_size:
        raise BundleError(
            f"{graph} reads bytes {offset} to {offset + length} of {weights_size} bytes of weights."
        )


def _entry(proto: memoryview) -> tuple[str, str]:
    fields = {field: bytes(_message(value)).decode("utf-8", "replace") for field, value in _strings(proto)}
    return fields.get(_ENTRY_KEY, ""), fields.get(_ENTRY_VALUE, "")


def _strings(proto: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((field, _message(value)) for field, value in parse(proto) if field in (_ENTRY_KEY, _ENTRY_VALUE))


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise BundleError(
            "The graph is damaged: a number stands where a message belongs. Export the model again."
        )
    return value
