"""Attention of several tokens of one row over a cache in int8, computed in float32.

Keys and values are rounded to codes before they are attended to, so that a token sees the same numbers of another
whether it came in the same chunk or before: where a text is cut changes no bit. Codes of earlier tokens become float32
again, for one layer at a time, and new ones are written behind them in place.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from llmbuilder.bundle.manifest import ATTENTION_MASK, INPUT_IDS, POSITION_IDS
from llmbuilder_export.graph import MICROSOFT, add_initializer, name_of, optional, required, shape_of
from llmbuilder_export.networks.attention import SINKS_INPUT, after_width

_PAST_KEY, _LENGTHS, _WIDTH, _COS = 3, 5, 6, 7
_SWAP_MIDDLE = (0, 2, 1, 3)


class Chunks:
    """Makes the branches of a graph that are taken by chunks; what they share stands in the graph."""

    def __init__(self, graph: ir.Graph) -> None:
        """Add what all layers read: constants, and how many tokens came before."""
        self._graph = graph
        self._inputs = {name_of(value): value for value in graph.inputs}
        self._constants: dict[str, ir.Value] = {}
        self._past = self._tokens_before()

    def branch(self, attention: ir.Node, scales: Sequence[ir.Value]) -> ir.Graph:
        """The branch that takes the place of a layer's attention.

        Args:
            attention: the node over a cache in float32.
            scales: of keys and of values, [1].
        """
        made = _Branch(name_of(attention.outputs[0]))
        count, shared = (attention.attributes.get_int(name, 0) for name in ("num_heads", "kv_num_heads"))
        size = _head_size(required(attention.inputs[_PAST_KEY]))
        query, *new = self._parts(made, attention, [count * size, shared * size, shared * size])
        query, new[0] = self._rotated(made, attention, [(query, count), (new[0], shared)], size)
        place = self._place(made, shared)
        rounded, before, present = [], [], []
        for index, (value, scale) in enumerate(zip(new, scales, strict=True)):
            past = required(attention.inputs[_PAST_KEY + index])
            codes = made.node("QuantizeLinear", [value, scale, self._zero()])
            rounded.append(made.node("DequantizeLinear", [codes, scale, self._zero()]))
            before.append(self._earlier(made, past, scale))
            rows = made.node(
                "Reshape", [codes, self._constant(f"heads_{shared}x{size}", [0, 0, shared, size])]
            )
            rows = made.node("Transpose", [rows], perm=_SWAP_MIDDLE)
            present.append(made.node("ScatterND", [past, place, rows]))
        attended = made.attention(attention, [query, *rounded, *before])
        return made.graph([attended, *present])

    def _tokens_before(self) -> ir.Value:
        """How many tokens the row had, [1]: the mask is as wide as old and new ones together."""
        sizes = [
            ir.node("Shape", [self._inputs[name]], {"start": 1, "end": 2}, name=f"width_of_{name}")
            for name in (ATTENTION_MASK, INPUT_IDS)
        ]
        past = ir.node("Sub", [size.outputs[0] for size in sizes], name="tokens_before")
        for node in (*sizes, past):
            node.outputs[0].name = f"{node.name}_out"
        self._graph.insert_before(self._graph[0], [*sizes, past])
        return past.outputs[0]

    def _parts(self, made: "_Branch", attention: ir.Node, widths: list[int]) -> list[ir.Value]:
        """Query, key and value [1, S, heads * size]."""
        first, *others = attention.inputs[:3]
        if others[0] is not None:
            return [required(value) for value in (first, *others)]
        name = "widths_" + "_".join(map(str, widths))
        return made.nodes("Split", [first, self._constant(name, widths)], 3, axis=-1)

    def _rotated(
        self, made: "_Branch", attention: ir.Node, parts: Sequence[tuple[ir.Value, int]], size: int
    ) -> list[ir.Value]:
        """Queries and keys in their positions, if attention is to bring them there."""
        if not attention.attributes.get_int("do_rotary", 0):
            return [value for value, _ in parts]
        tables = [required(value) for value in attention.inputs[_COS : _COS + 2]]
        rotated = 2 * shape_of(tables[0])[1]
        options = {"interleaved": attention.attributes.get_int("rotary_interleaved", 0)}
        if rotated < size:
            options["rotary_embedding_dim"] = rotated
        positions = self._inputs[POSITION_IDS]
        return [
            made.node(
                "RotaryEmbedding",
                [value, positions, *tables],
                MICROSOFT,
                **options,
                **({"num_heads": heads} if rotated < size else {}),
            )
            for value, heads in parts
        ]

    def _earlier(self, made: "_Branch", past: ir.Value, scale: ir.Value) -> ir.Value:
        """The tokens that the row had, as numbers."""
        codes = made.node(
            "Slice", [past, self._constant("from_start", [0]), self._past, self._constant("token_axis", [2])]
        )
        return made.node("DequantizeLinear", [codes, scale, self._zero()])

    def _place(self, made: "_Branch", heads: int) -> ir.Value:
        """Where new tokens lie in the cache of one row: [1, heads, S, 3]."""
        numbers = [[[0, head, 0]] for head in range(heads)]
        column = made.node(
            "Reshape", [self._inputs[POSITION_IDS], self._constant("one_row_of_positions", [1, 1, -1, 1])]
        )
        tokens = made.node("Mul", [column, self._constant("last_of_three", [0, 0, 1])])
        return made.node("Add", [tokens, self._constant(f"places_of_{heads}_heads", [numbers])])

    def _zero(self) -> ir.Value:
        return self._constant("cache_zero_point", [0], np.int8)

    def _constant(self, name: str, content: object, dtype: type[np.generic] = np.int64) -> ir.Value:
        if name not in self._constants:
            self._constants[name] = add_initializer(self._graph, name, np.array(content, dtype))
        return self._constants[name]


def _head_size(past: ir.Value) -> int:
    """The last dimension of a tensor of the cache."""
    size = past.shape[3] if past.shape is not None else None
    if not isinstance(size, int):
        raise TypeError(f"{past.name} has no heads of a known size")
    return size


class _Branch:
    """The nodes of one branch, each named after its layer."""

    def __init__(self, name: str) -> None:
        self._name = f"{name}_chunk"
        self._nodes: list[ir.Node] = []

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        domain: str = "",
        **options: int | tuple[int, ...],
    ) -> ir.Value:
        """Add a node; what it makes."""
        return self._add(ir.node(op_type, inputs, options, domain=domain))[0]

    def nodes(
        self, op_type: str, inputs: Sequence[ir.Value | None], outputs: int, **options: int
    ) -> list[ir.Value]:
        """Add a node; all that it makes."""
        return self._add(ir.node(op_type, inputs, options, num_outputs=outputs))

    def attention(self, original: ir.Node, inputs: Sequence[ir.Value]) -> ir.Value:
        """Add attention over separate queries, keys and values that stand where they belong."""
        options = [each for name, each in original.attributes.items() if "rotary" not in name]
        sizes = original.inputs[_LENGTHS : _WIDTH + 1]
        further = after_width(optional(original, SINKS_INPUT))
        return self._add(
            ir.Node(
                MICROSOFT,
                original.op_type,
                [*inputs, *sizes, *further],
                options,
                num_outputs=len(original.outputs),
            )
        )[0]

    def graph(self, outputs: Sequence[ir.Value]) -> ir.Graph:
        """The branch as a graph."""
        return ir.Graph([], outputs, nodes=self._nodes, name=f"{self._name}_graph")

    def _add(self, node: ir.Node) -> list[ir.Value]:
        node.name = f"{self._name}_{len(self._nodes)}"
        for index, value in enumerate(node.outputs):
            value.name = f"{node.name}_{index}"
        self._nodes.append(node)
        return list(node.outputs)
