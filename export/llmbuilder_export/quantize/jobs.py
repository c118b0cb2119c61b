"""The weights of a graph that are quantized one after the other, and which of them get 4 bits."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import LOGITS
from llmbuilder_export.graph import name_of, nodes_of, tensor_of
from llmbuilder_export.quantize.layers import Linear, feeding

_MOMENT_BYTES = 1 << 30
"""Second moments kept at a time; more than one layer's is never needed, but each time runs the model once more."""


@dataclass(frozen=True, slots=True)
class Job:
    """A weight and all that uses it: linear layers, of the same orientation, and perhaps the embedding's lookup."""

    weight: ir.Value
    linears: Sequence[Linear]
    lookup: ir.Node | None

    @property
    def source(self) -> str:
        """Name of the first layer's input."""
        return name_of(self.linears[0].source)

    def matrix(self) -> FloatArray:
        """The weight as [N, K], a view where the tensor allows it."""
        if self.lookup is None:
            return self.linears[0].matrix()
        table: FloatArray = tensor_of(self.weight).numpy()
        return table


def jobs_of(linears: Sequence[Linear], lookup: ir.Node | None) -> list[Job]:
    """The weights of ``linears``, and last that of the embedding's ``lookup``, each with all that uses it."""
    users: dict[tuple[ir.Value, bool], list[Linear]] = defaultdict(list)
    for linear in linears:
        users[linear.weight, linear.rows_are_outputs].append(linear)
    table = None if lookup is None else lookup.inputs[0]
    tied = [] if table is None else users.pop((table, True), [])
    jobs = [Job(weight, group, None) for (weight, _), group in users.items()]
    return jobs if table is None else [*jobs, Job(table, tied, lookup)]


def with_four_bits(graph: ir.Graph, jobs: Sequence[Job]) -> list[Job]:
    """All but the embedding, the output head, and what makes queries, keys and values."""
    kept_at_8 = _sensitive(graph, [linear for job in jobs for linear in job.linears])
    only_linear = (job for job in jobs if job.lookup is None)
    return [job for job in only_linear if not any(linear in kept_at_8 for linear in job.linears)]


def _sensitive(graph: ir.Graph, linears: Sequence[Linear]) -> set[Linear]:
    """The output head and the layers that make queries, keys and values."""
    attention = [value for node in nodes_of(graph, "GroupQueryAttention") for value in node.inputs[:3]]
    logits = [value for value in graph.outputs if value.name == LOGITS]
    return feeding([*attention, *logits], linears)


def in_groups(jobs: Sequence[Job], most: int = _MOMENT_BYTES) -> Iterator[list[Job]]:
    """Jobs in their order; second moments of a group's inputs take at most so many bytes, or are one input's."""
    group, sizes = list[Job](), dict[str, int]()
    for job in jobs:
        size = 4 * job.linears[0].shape[1] ** 2
        if group and job.source not in sizes and sum(sizes.values()) + size > most:
            yield group
            group, sizes = [], {}
        group.append(job)
        sizes[job.source] = size
    if group:
        yield group
