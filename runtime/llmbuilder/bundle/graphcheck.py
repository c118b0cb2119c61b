"""Look at a graph before ONNX Runtime does: only what the exporter writes, and nothing that grows.

ONNX Runtime follows hard links and has had path traversal bugs in external data (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489), and a small graph can ask for any amount of memory or time. A bundle may come from anywhere, so its
graph is checked first: fields (`llmbuilder.bundle.graphproto`), operators (`llmbuilder.bundle.operators`), and sizes
(`llmbuilder.bundle.graphsizes`).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmbuilder.bundle.graphproto import BYTES_OF, EXTERNAL, read_model
from llmbuilder.bundle.graphsizes import check_sizes
from llmbuilder.bundle.manifest import WEIGHTS_NAME, ModelFacts
from llmbuilder.bundle.operators import FIELD_OF, OPERATORS, OPSETS, unknown
from llmbuilder.bundle.protobuf import GraphError, Message
from llmbuilder.bundle.shapes import MOST_DIMENSIONS
from llmbuilder.errors import BundleError

_LARGEST_GRAPH = 32 << 20
_LARGEST_SIZE = 1 << 40
_MOST_NODES_PER_LAYER = 256
"""Those of Gemma 3n are 159; most models have 20 to 70. As many again may stand outside of layers."""
_MOST_READS = 2
"""Of a weight matrix: the embedding is the output head as well."""


def check_graph(graph: Path, facts: ModelFacts, weights_size: int | None) -> None:
    """Refuse a graph that no export writes.

    Args:
        graph: the ``.onnx`` file.
        facts: the model's, by the manifest.
        weights_size: bytes in the weights file beside it, or None if the manifest lists none.

    Raises:
        BundleError: the file is damaged or too large; unknown fields, operators or attributes; weights that are no
            range of the bundle's own file, or of another size than their shape; a matrix that is read more than
            twice; more nodes than the layers need; shapes that do not fit each other, or values larger than any
            that such a model computes.
    """
    check_content(read_graph(graph), graph, facts, weights_size)


def read_graph(graph: Path) -> bytes:
    """The bytes of a graph's file.

    Raises:
        BundleError: there are too many of them.
        OSError: it cannot be read.
    """
    if (size := graph.stat().st_size) > _LARGEST_GRAPH:
        raise BundleError(f"{graph} has {size} bytes, too many for a graph. Export the model again.")
    return graph.read_bytes()


def check_content(content: bytes, graph: Path, facts: ModelFacts, weights_size: int | None) -> None:
    """Check the bytes of ``graph``; see `check_graph`."""
    try:
        model = read_model(content)
        _check_opsets(model)
        if "graph" not in model:
            return
        whole = model["graph"]
        _check_nodes(list(_all_nodes(whole)), facts)
        for tensor in whole.get("initializer", []):
            _check_tensor(tensor, weights_size)
        _check_reads(whole)
        check_sizes(whole, facts)
    except GraphError as error:
        raise BundleError(
            f"{graph} {error}. Do not trust this file: copy or export the bundle again."
        ) from None


def _check_opsets(model: Message) -> None:
    versions = [(opset.get("domain", ""), opset.get("version")) for opset in model.get("opset_import", [])]
    if dict(versions).items() - OPSETS.items() or len(versions) > len(OPSETS):
        raise GraphError(f"wants operators of other versions: {versions[:4]}, known are {OPSETS}")


def _all_nodes(graph: Message) -> Iterator[Message]:
    """The nodes of a graph and those inside of its branches."""
    for node in graph.get("node", []):
        yield node
        for attribute in node.get("attribute", []):
            yield from attribute.get("g", {}).get("node", [])


def _check_nodes(nodes: Sequence[Message], facts: ModelFacts) -> None:
    if len(nodes) > (most := _MOST_NODES_PER_LAYER * (facts.num_layers + 1)):
        raise GraphError(f"has {len(nodes)} operators, more than {most} for {facts.num_layers} layers")
    for node in nodes:
        attributes = {each.get("name", ""): each.get("type", 0) for each in node.get("attribute", [])}
        if odd := unknown(node.get("domain", ""), node.get("op_type", ""), attributes):
            raise GraphError(f"uses the operator {_printable(odd)}, which bundles do not have")
        if len(attributes) != len(node.get("attribute", [])):
            raise GraphError(f"gives {node['op_type']} an attribute twice")
        for attribute in node.get("attribute", []):
            if attribute.keys() != {"name", "type", FIELD_OF[attribute["type"]]}:
                raise GraphError(f"gives {node['op_type']} an attribute of several types")
        _check_heads(node, facts)


def _check_heads(node: Message, facts: ModelFacts) -> None:
    """Refuse attention of fewer heads than the manifest says: the number of threads is chosen by them."""
    if node["op_type"] == "GroupQueryAttention":
        heads = [each.get("i", 0) for each in node.get("attribute", []) if each["name"] == "num_heads"]
        if sum(heads) < facts.fewest_heads:
            raise GraphError(f"has attention of {sum(heads)} heads, where the model has {facts.fewest_heads}")


def _check_tensor(tensor: Message, weights_size: int | None) -> None:
    """Refuse weights that are not of the size of their shape, or no range of the bundle's weights file."""
    name, kind, dims = tensor.get("name", ""), tensor.get("data_type", 0), tensor.get("dims", [])
    if kind not in BYTES_OF:
        raise GraphError(f"has weights {name!r} of the unknown type {kind}")
    if len(dims) > MOST_DIMENSIONS or any(not 0 <= size <= _LARGEST_SIZE for size in dims):
        raise GraphError(f"has weights {name!r} of an impossible shape")
    expected = math.prod(dims) * BYTES_OF[kind]
    external, location = tensor.get("external_data"), tensor.get("data_location", 0)
    if location == EXTERNAL and external is not None and "raw_data" not in tensor:
        found = _external_size(external, weights_size)
    elif location == 0 and external is None:
        found = len(tensor.get("raw_data", b""))
    else:
        raise GraphError(f"does not say clearly where the weights {name!r} lie")
    if found != expected:
        raise GraphError(f"has {found} bytes of weights {name!r}, whose shape wants {expected}")


def _external_size(entries: Sequence[Message], weights_size: int | None) -> int:
    """Bytes of a range inside the bundle's weights file."""
    words = {entry.get("key", ""): entry.get("value", "") for entry in entries}
    if words.get("location") != WEIGHTS_NAME or weights_size is None:
        raise GraphError(f"reads weights from {words.get('location')!r}; a bundle's lie in {WEIGHTS_NAME!r}")
    if len(words) != len(entries) or words.keys() - {"location", "offset", "length"}:
        raise GraphError(f"says more of the place of its weights than where it is: {list(words)[:8]}")
    # ONNX Runtime reads plain digits only; int() alone would also take "1_0" or other scripts' digits.
    match = re.fullmatch("([0-9]{1,19}) ([0-9]{1,19})", f"{words.get('offset', '0')} {words.get('length')}")
    if match is None:
        raise GraphError("names a range of weights whose offset or length is missing or no plain number")
    offset, length = int(match[1]), int(match[2])
    if offset + length > weights_size:
        raise GraphError(f"reads bytes {offset} to {offset + length} of {weights_size} bytes of weights")
    return length


def _check_reads(graph: Message) -> None:
    """Refuse to multiply by one matrix again and again, which takes time that its size does not show."""
    matrices = {
        each.get("name", "") for each in graph.get("initializer", []) if len(each.get("dims", [])) > 1
    }
    reads = Counter(
        name
        for node in _all_nodes(graph)
        if OPERATORS[node.get("domain", ""), node["op_type"]].multiplies
        for name in set(node.get("input", []))
    )
    for name in matrices & reads.keys():
        if reads[name] > _MOST_READS:
            raise GraphError(f"multiplies by the weights {name!r} {reads[name]} times, most is {_MOST_READS}")


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:80])
