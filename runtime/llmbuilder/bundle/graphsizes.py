"""Follow a graph with the sizes that it will run with, and refuse one whose values outgrow its model."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmbuilder.bundle.graphproto import INT64
from llmbuilder.bundle.manifest import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS_START,
    LOGITS_TO_KEEP,
    PAST,
    POSITION_IDS,
    ModelFacts,
)
from llmbuilder.bundle.operators import BRANCHES, FIELD_OF, OPERATORS
from llmbuilder.bundle.protobuf import GraphError, Message
from llmbuilder.bundle.shapes import Call, ShapeError, Value

_FEW_NUMBERS = 64
_LONGEST_CALL, _ROWS, _SHORT_WINDOW = 512, 8, 2048
_ROOM = 8
"""How many times as wide as the widest weight a value may be for each token; in all families it is once at most."""
_SMALL = 64
_LAYERS_ROOM = 80
"""How many times as wide all values of a layer together may be; those of Gemma 3n are 20, of most models 4 to 8."""


class _Run(NamedTuple):
    """Sizes of one call: rows, new tokens, and those of the cache."""

    rows: int
    tokens: int
    total: int


def check_sizes(graph: Message, facts: ModelFacts) -> None:
    """Compute every value's shape for the largest prompt that is computed at once, and for a step of many rows.

    For each token, a value may be `_ROOM` times as wide as the widest weight, and a multiplication cost as many times
    what its weight has numbers. Values may always be as large as the weights and caches that are there anyway.

    Raises:
        GraphError: inputs are unknown or missing, shapes do not fit each other, come from what is not known before a
            run, or outgrow the model.
    """
    window = facts.context_length
    for run in (_Run(1, min(_LONGEST_CALL, window), window), _Run(_ROWS, 1, min(_SHORT_WINDOW, window))):
        _follow(graph, facts, run)


def _follow(graph: Message, facts: ModelFacts, run: _Run) -> None:
    values = dict(_weights(graph))
    widest = max([facts.vocab_size, *(max(value.shape, default=1) for value in values.values())])
    values |= _inputs(graph, facts, run)
    tokens = run.rows * run.tokens
    most = max(_ROOM * widest * tokens, *(value.size for value in values.values()))
    _Walk(most, widest * tokens, tokens, facts.num_layers).nodes(graph, values)


@dataclass(slots=True)
class _Walk:
    """A way through a graph, and through both branches where there are two."""

    most: int
    """Numbers of one value."""
    width: int
    """Numbers of a value that is as wide as the widest weight for each token."""
    tokens: int
    layers: int
    total: int = 0
    """Numbers of all values so far."""

    def nodes(self, graph: Message, values: dict[str, Value]) -> None:
        """Add to ``values`` what the nodes of a graph make."""
        for node in graph.get("node", []):
            call = _call(node, values)
            outputs = self._branches(node, values) if node["op_type"] == "If" else _outputs(node, call)
            self._count(node, outputs)
            if cost := OPERATORS[node.get("domain", ""), node["op_type"]].multiplies:
                _check_cost(node, *cost(call, outputs[0]), self.most, self.tokens)
            for name, value in zip(node.get("output", []), outputs, strict=False):
                _define(values, name, value)

    def _branches(self, node: Message, values: dict[str, Value]) -> Sequence[Value]:
        """What an If makes, whichever way it takes."""
        found = []
        for attribute in node.get("attribute", []):
            inside = dict(values)
            self.nodes(attribute["g"], inside)
            names = [each.get("name", "") for each in attribute["g"].get("output", [])]
            if not all(name in inside for name in names):
                raise GraphError(f"ends a branch of {_named(node)} with what it does not make")
            found.append([Value(inside[name].shape) for name in names])
        if len(found) != len(BRANCHES) or found[0] != found[1]:
            raise GraphError(f"has branches of {_named(node)} that differ in what they make")
        return found[0]

    def _count(self, node: Message, outputs: Sequence[Value]) -> None:
        largest = max((value.size for value in outputs), default=0)
        self.total += largest if largest <= self.width * _ROOM else 0
        if largest > self.most or self.total > _LAYERS_ROOM * (self.layers + 1) * self.width:
            raise GraphError(
                f"makes values of too many numbers: {largest} with {_named(node)}, after {self.total}"
            )


def _check_cost(node: Message, weight: Value, cost: int, most: int, tokens: int) -> None:
    if weight.is_weight and max(weight.shape, default=0) <= _SMALL:
        return  # it costs some passes over its result, whose size is bounded: features are turned in groups
    if cost > (_ROOM * tokens * weight.size if weight.is_weight else most):
        raise GraphError(f"multiplies more than any model does with {_named(node)}")


def _call(node: Message, values: dict[str, Value]) -> Call:
    inputs = []
    for name in node.get("input", []):
        if name and name not in values:
            raise GraphError(f"reads {name[:80]!r} with {_named(node)} before it is made")
        inputs.append(values[name] if name else None)
    attributes = {each["name"]: each[FIELD_OF[each["type"]]] for each in node.get("attribute", [])}
    return Call(inputs, attributes, len(node.get("output", [])))


def _outputs(node: Message, call: Call) -> Sequence[Value]:
    try:
        return OPERATORS[node.get("domain", ""), node["op_type"]].shape(call)
    except ShapeError as error:
        raise GraphError(f"does not add up at {_named(node)}: {error}") from None


def _named(node: Message) -> str:
    return f"{node['op_type']} ({node.get('name', '')[:80]!r})"


def _define(values: dict[str, Value], name: str, value: Value) -> None:
    if name and name in values:
        raise GraphError(f"makes {name[:80]!r} twice")
    values[name] = value


def _weights(graph: Message) -> Iterator[tuple[str, Value]]:
    """Shapes of the weights, and the numbers of those that are a few whole ones."""
    names = set[str]()
    for tensor in graph.get("initializer", []):
        name, shape, raw = tensor.get("name", ""), tuple(tensor.get("dims", [])), tensor.get("raw_data", b"")
        if name in names:
            raise GraphError(f"has two weights of the name {name[:80]!r}")
        names.add(name)
        few = tensor["data_type"] == INT64 and 0 < len(raw) <= 8 * _FEW_NUMBERS and len(shape) < 2
        numbers = struct.unpack(f"<{len(raw) // 8}q", raw) if few else None
        yield name, Value(shape, numbers, is_weight=True)


def _inputs(graph: Message, facts: ModelFacts, run: _Run) -> Iterator[tuple[str, Value]]:
    """Shapes of the graph's inputs in this call."""
    names = set[str]()
    for each in graph.get("input", []):
        name = each.get("name", "")
        shape = _input_shape(name, facts, run)
        declared = each.get("type", {}).get("tensor_type", {}).get("shape", {}).get("dim", [])
        sizes = [dim.get("dim") for dim in declared]
        if name in names or len(sizes) != len(shape):
            raise GraphError(f"has an input {name[:80]!r} twice, or of {len(sizes)} dimensions")
        if any(isinstance(size, int) and size != real for size, real in zip(sizes, shape, strict=True)):
            raise GraphError(
                f"has an input {name!r} of the shape {sizes}, where the model's is {list(shape)}"
            )
        names.add(name)
        yield name, Value(shape)
    if len(names & {LOGITS_START, LOGITS_TO_KEEP}) != 1 or len(names) != 4 + 2 * facts.num_layers:
        raise GraphError(
            f"has {len(names)} inputs, which are not those of a model of {facts.num_layers} layers"
        )


def _input_shape(name: str, facts: ModelFacts, run: _Run) -> tuple[int, ...]:
    known = {
        INPUT_IDS: (run.rows, run.tokens),
        POSITION_IDS: (run.rows, run.tokens),
        ATTENTION_MASK: (run.rows, run.total),
        LOGITS_START: (1,),
        LOGITS_TO_KEEP: (),
    }
    if name in known:
        return known[name]
    layer = name.removeprefix(PAST.partition("{layer}")[0]).partition(".")[0]
    if not (layer.isascii() and layer.isdigit() and len(layer) < 6 and int(layer) < facts.num_layers):
        raise GraphError(f"has an input {name[:80]!r}, which no model of {facts.num_layers} layers has")
    cache = facts.layers[int(layer)]
    sizes = {"key": cache.key_size, "value": cache.value_size}
    for kind, size in sizes.items():
        if name == PAST.format(layer=int(layer), kind=kind):
            return (run.rows, cache.heads, run.total, size)
    raise GraphError(f"has an input {name[:80]!r}, which no model has")
