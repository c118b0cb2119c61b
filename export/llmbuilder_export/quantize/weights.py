"""Quantize the weights of a graph: linear layers become MatMulNBits, the embedding GatherBlockQuantized.

``int8`` gives every weight 8 bits. ``int4`` leaves 8 bits to the embedding, to the output head, and to the layers that
make queries, keys and values: they are small and suffer most. In the others, errors of rounding are made up for.
``w8a8`` multiplies whole numbers where that is exact enough (`llmbuilder_export.quantize.integers`) and is ``int8``
elsewhere. Blocks of 32 with whole zero points and ``accuracy_level=4`` are what ONNX Runtime computes fast, and bit for
bit the same for any number of rows.

Weights that were stored in such blocks before, in a GGUF file, can be kept as they were.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from functools import partial

import numpy as np
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import Quantization
from llmbuilder.errors import ExportError
from llmbuilder_export.experts import ROWS, routers
from llmbuilder_export.graph import (
    MICROSOFT,
    add_initializer,
    name_of,
    nodes_of,
    release,
    replace,
    required,
    shape_of,
)
from llmbuilder_export.quantize.blocks import BLOCK, Bits, Blocks, recover, round_symmetric, search
from llmbuilder_export.quantize.calibrate import TOKENS, mean_squares, sample_rows, second_moments, written
from llmbuilder_export.quantize.experts import keep_experts, quantize_experts
from llmbuilder_export.quantize.feedback import search_with_feedback
from llmbuilder_export.quantize.integers import candidates, multiply_integers
from llmbuilder_export.quantize.jobs import Job, in_groups, jobs_of, with_four_bits
from llmbuilder_export.quantize.layers import Linear, find_embedding, find_linears
from llmbuilder_export.tracking import tracked

_COMPUTE_IN_INT8 = 4
"""``accuracy_level`` of MatMulNBits; with any other one, 8-bit weights are 100 times slower."""
_FEEDBACK_ROWS, _FEEDBACK_TOKENS = 16, 256
"""Text on which errors are made up for; a layer's inputs go together in more ways than 8 rows of 128 tokens show."""


@dataclass(frozen=True, slots=True)
class _Calibration:
    """What was measured on text that the model wrote."""

    importance: Mapping[str, FloatArray]
    """Mean squares [K] of the inputs of all linear layers, by name."""
    moments: Callable[[Collection[str]], Mapping[str, FloatArray]]
    """Measures second moments [K, K] of inputs, by name."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Initializers of a quantized weight with K inputs."""

    codes: ir.Value
    scales: ir.Value
    zero_points: ir.Value | None
    bits: Bits
    inputs: int


def keep_blocks(model: ir.Model, bits: Bits, progress: Callable[[str], None]) -> ir.Model:
    """Store each weight of ``model`` in the blocks that it was read from, in place, so that nothing is rounded twice.

    Args:
        model: a traced and fused graph in float32.
        bits: size of the codes that most weights were stored in; the embedding, and what has no codes of that size,
            get 8 bits, rounded where there are none of 8 bits either.
        progress: called with a line that says how many were kept.

    Returns:
        The same model.

    Raises:
        ExportError: a weight is not finite.
    """
    before = _weight_bytes(model.graph)
    jobs = jobs_of(find_linears(model.graph), find_embedding(model.graph))
    kept = 0
    for job in tracked(jobs, "weights"):
        sizes: tuple[Bits, ...] = (8,) if bits == 8 or job.lookup is not None else (4, 8)
        matrix = job.matrix()
        blocks = next((blocks for size in sizes if (blocks := recover(matrix, size)) is not None), None)
        kept += blocks is not None
        if blocks is None:
            blocks = round_symmetric(matrix) if job.lookup is not None else search(matrix, 8)
        elif job.lookup is not None:
            blocks = replace_fields(blocks, zero_points=None)
        _rewrite(model.graph, job, blocks)
    after = _weight_bytes(model.graph)
    progress(
        f"weights: {before / 1e6:.1f} MB in float32, {after / 1e6:.1f} MB; {kept} of {len(jobs)} as they were stored"
    )
    return model


def quantize(
    model: ir.Model, mode: Quantization, progress: Callable[[str], None], context_length: int
) -> ir.Model:
    """Quantize ``model`` in place, one weight at a time; each float32 weight is let go of when it is done.

    Args:
        model: a traced and fused graph in float32.
        mode: ``none`` changes nothing.
        progress: called with a line for each stage.
        context_length: the model's window in tokens; calibration stays inside.

    Returns:
        The same model.

    Raises:
        ExportError: a weight is not finite, or there is nothing to quantize.
    """
    if mode == "none":
        keep_experts(model.graph)
        return model
    before = _weight_bytes(model.graph)
    calibration, linears = None, find_linears(model.graph)
    if mode != "int8":
        progress("calibrate on text that the model writes itself")
    if mode == "int4":
        calibration = _calibrate(model.clone(), context_length)
    elif mode == "w8a8":
        rows = _sampled(model.clone(), min(TOKENS, context_length))
        count = len(linears)
        linears = multiply_integers(model.graph, rows)
        progress(f"products in whole numbers: {count - len(linears)} of {count}")
    _quantize_weights(model.graph, linears, calibration, progress)
    after = _weight_bytes(model.graph)
    if after >= before:
        raise ExportError("This graph has no weights that can be quantized. Export it with --quantize none.")
    progress(f"weights: {before / 1e6:.1f} MB in float32, {after / 1e6:.1f} MB in {mode}")
    return model


def _calibrate(copy: ir.Model, context_length: int) -> _Calibration:
    """Measure the inputs of all linear layers and experts; quantizes ``copy``.

    They are measured in 8 bits, which differ from float32 by little and need a quarter of its memory.
    """
    names = {name_of(linear.source) for linear in find_linears(copy.graph)}
    names |= {name_of(required(node.inputs[ROWS])) for node in nodes_of(copy.graph, "MoE")}
    _quantize_weights(copy.graph, find_linears(copy.graph), None, lambda _: None)
    importance = mean_squares(copy, names, min(TOKENS, context_length))
    text = written(copy, _FEEDBACK_ROWS, min(_FEEDBACK_TOKENS, context_length))
    return _Calibration(importance, partial(second_moments, copy, text=text))


def _sampled(copy: ir.Model, tokens: int) -> dict[str, FloatArray]:
    """Samples [rows, K] of the inputs of layers whose product may be in whole numbers, measured as importance is."""
    names = {name_of(linear.source) for linear in candidates(copy.graph)}
    _quantize_weights(copy.graph, find_linears(copy.graph), None, lambda _: None)
    return sample_rows(copy, names, tokens)


def _quantize_weights(
    graph: ir.Graph,
    linears: list[Linear],
    calibration: _Calibration | None,
    progress: Callable[[str], None],
) -> None:
    """Put weights in blocks of 8 bits or, if inputs were measured, mostly of 4; what chooses experts stays."""
    choosing = routers(graph, linears)
    linears = [linear for linear in linears if linear not in choosing]
    jobs = jobs_of(linears, find_embedding(graph))
    small = [] if calibration is None else with_four_bits(graph, jobs)
    importance = {} if calibration is None else calibration.importance
    for job in tracked([job for job in jobs if job not in small], "weights"):
        _rewrite(graph, job, _quantized(job, importance))
    if calibration is not None:
        _quantize_small(graph, small, calibration, progress)
    quantize_experts(graph, 8 if calibration is None else 4, importance, progress)


def _quantize_small(
    graph: ir.Graph, jobs: Sequence[Job], calibration: _Calibration, progress: Callable[[str], None]
) -> None:
    """Put weights in blocks of 4 bits, as many at a time as second moments may be kept of."""
    done = 0
    for group in in_groups(jobs):
        moments = calibration.moments({job.source for job in group})
        for job in tracked(group, "weights"):
            _rewrite(graph, job, search_with_feedback(job.matrix(), moments[job.source]))
        done += len(group)
        progress(f"4 bits: {done} of {len(jobs)} weights")


def _quantized(job: Job, importance: Mapping[str, FloatArray]) -> Blocks:
    # GatherBlockQuantized and the head read one table, whose middle code is the zero point of both.
    if job.lookup is not None:
        return round_symmetric(job.matrix())
    return search(job.matrix(), 8, importance.get(job.source))


def _rewrite(graph: ir.Graph, job: Job, blocks: Blocks) -> None:
    """Let all users of a weight read its blocks, and drop the weight."""
    size = shape_of(job.weight)[1] if job.lookup is not None else job.linears[0].shape[1]
    stored = _store(graph, name_of(job.weight), blocks, size)
    for linear in job.linears:
        _multiply(graph, linear, stored)
    if job.lookup is not None:
        _look_up(graph, job.lookup, stored)
    release(graph, job.weight)


def _multiply(graph: ir.Graph, linear: Linear, stored: _Stored) -> None:
    """Put MatMulNBits in the place of a linear layer."""
    outputs, inputs = linear.shape
    attributes = {
        "K": inputs,
        "N": outputs,
        "bits": stored.bits,
        "block_size": BLOCK,
        "accuracy_level": _COMPUTE_IN_INT8,
    }
    operands = [linear.source, stored.codes, stored.scales, stored.zero_points]
    if linear.bias is not None:
        operands += [None, linear.bias]
    node = ir.node("MatMulNBits", operands, attributes, domain=MICROSOFT, name=linear.nodes[0].name)
    replace(graph, linear.nodes, [node])


def _look_up(graph: ir.Graph, gather: ir.Node, stored: _Stored) -> None:
    """Put GatherBlockQuantized in the place of the embedding's Gather.

    It reads the 3-D codes as they are and gives [batch, sequence, blocks, 32]. Only the small scales are brought into
    the shape it wants: a reshaped table would be stored a second time by ONNX Runtime.
    """
    name = name_of(gather.outputs[0])
    last = _constant(graph, f"{name}_last_axis", [-1])
    scales = ir.node("Unsqueeze", [stored.scales, last])
    operands = [stored.codes, gather.inputs[1], scales.outputs[0]]
    attributes = {"bits": stored.bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 2}
    rows = ir.node("GatherBlockQuantized", operands, attributes, domain=MICROSOFT, name=gather.name)
    shape = _constant(graph, f"{name}_shape", [0, 0, -1])
    nodes = [scales, rows, ir.node("Reshape", [rows.outputs[0], shape])]
    if stored.inputs % BLOCK:
        start, end = _constant(graph, f"{name}_start", [0]), _constant(graph, f"{name}_end", [stored.inputs])
        nodes.append(ir.node("Slice", [nodes[-1].outputs[0], start, end, last]))
    replace(graph, [gather], nodes)


def _store(graph: ir.Graph, name: str, blocks: Blocks, inputs: int) -> _Stored:
    codes = add_initializer(graph, f"{name}_codes", blocks.codes)
    scales = add_initializer(graph, f"{name}_scales", blocks.scales)
    zeros = blocks.zero_points
    zero_points = None if zeros is None else add_initializer(graph, f"{name}_zero_points", zeros)
    return _Stored(codes, scales, zero_points, blocks.bits, inputs)


def _constant(graph: ir.Graph, name: str, numbers: Sequence[int]) -> ir.Value:
    return add_initializer(graph, name, np.array(numbers, np.int64))


def _weight_bytes(graph: ir.Graph) -> int:
    tensors = (value.const_value for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
