"""Measure how strongly each input of a graph's linear layers is driven, on text that the model writes itself.

A model's own samples show quantization what inputs to expect, and no corpus has to fit its language or subject
(Liu et al. 2023, LLM-QAT): every row starts with a random token and is continued by sampling at temperature 1.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ATTENTION_MASK, INPUT_IDS, LOGITS, PAST, POSITION_IDS, PRESENT
from llmbuilder.engine.session import session_options
from llmbuilder_export.tracking import tracked

if TYPE_CHECKING:
    import onnxruntime as ort

Weights = dict[str, npt.NDArray[Any]]
Ids = npt.NDArray[np.int64]

ROWS = 8
"""Sequences written at the same time."""
TOKENS = 128
"""Tokens of each sequence."""

_SEED = 0
_KEPT_STEPS = 8
_ELSEWHERE = "memory"
_SMALLEST_SHARED = 1024
"""Bytes from which a weight is handed to ONNX Runtime in memory; smaller ones lie in the graph."""


def mean_squares(model: ir.Model, values: Collection[str], tokens: int = TOKENS) -> dict[str, FloatArray]:
    """Mean square of each feature of ``values`` over sampled text.

    Args:
        model: a graph with the inputs and outputs of every bundle.
        values: names of results of its nodes, [batch, sequence, features] or [batch * sequence, features].
        tokens: length of each sequence, at most the model's window.

    Returns:
        An array [features] for each value's name.
    """
    names = sorted(values)
    session, weights = _session(model, partial(_measure, names=names))
    sums = [np.zeros((), np.float32)] * len(names)
    start = np.zeros(ROWS, np.int64)
    for _, measured in _sample(session, list(map(_energy, names)), tokens, _no_past(session), start):
        sums = [total + energy for total, energy in zip(sums, measured, strict=True)]
    del session, weights
    return {name: total / np.float32(ROWS * tokens) for name, total in zip(names, sums, strict=True)}


def sample_rows(model: ir.Model, values: Collection[str], tokens: int = TOKENS) -> dict[str, FloatArray]:
    """Some rows of ``values`` over sampled text: those of the first step and of every eighth after it.

    Args:
        model: a graph with the inputs and outputs of every bundle.
        values: names of results of its nodes, [batch, sequence, features] or [batch * sequence, features].
        tokens: length of each sequence, at most the model's window.

    Returns:
        An array [rows, features] for each value's name.
    """
    names = sorted(values)
    session, weights = _session(model, partial(_show, names=names))
    steps = enumerate(_sample(session, names, tokens, _no_past(session), np.zeros(ROWS, np.int64)))
    kept = [measured for step, (_, measured) in steps if step % _KEPT_STEPS == 0]
    del session, weights
    return {
        name: np.concatenate([each.reshape(ROWS, -1) for each in rows])
        for name, rows in zip(names, zip(*kept, strict=True), strict=True)
    }


def cached(model: ir.Model, tokens: int, starts: npt.NDArray[np.int64]) -> Weights:
    """Keys and values of sampled text, [`ROWS`, heads, tokens, size] by the names of their inputs.

    Args:
        model: a graph with the inputs and outputs of every bundle, and a cache in float32.
        tokens: length of each sequence.
        starts: the position [`ROWS`] of the first token of each.
    """
    session, weights = _session(model, lambda _: None)
    past = _no_past(session)
    for _ in _sample(session, (), tokens, past, starts):
        pass
    del session, weights
    return past


def written(model: ir.Model, rows: int, tokens: int) -> Ids:
    """Sampled text, ids [rows, tokens].

    Args:
        model: a graph with the inputs and outputs of every bundle.
        rows: number of sequences.
        tokens: length of each, at most the model's window.
    """
    session, weights = _session(model, lambda _: None)
    steps = _sample(session, (), tokens, _no_past(session, rows), np.zeros(rows, np.int64))
    ids = np.concatenate([ids for ids, _ in steps], axis=1)
    del session, weights
    return ids


def second_moments(model: ir.Model, values: Collection[str], text: Ids) -> dict[str, FloatArray]:
    """Mean products of each two features of ``values``, over all of a text.

    They take 4 * features ** 2 bytes for each value, all at once. Nothing that only later nodes need is computed.

    Args:
        model: a graph with the inputs and outputs of every bundle.
        values: names of results of its nodes, [batch, sequence, features] or [batch * sequence, features].
        text: ids [rows, tokens]; each row begins at the first position.

    Returns:
        An array [features, features] for each value's name.
    """
    names = sorted(values)
    session, weights = _session(model, partial(_show, names=names, only=True), packed=False)
    count = text.shape[1]
    feeds = _no_past(session, 1) | {
        ATTENTION_MASK: np.ones((1, count), np.int64),
        POSITION_IDS: np.arange(count)[None],
    }
    sums: dict[str, FloatArray] = {}
    for row in text:
        for name, each in zip(names, session.run(names, feeds | {INPUT_IDS: row[None]}), strict=True):
            rows = each.reshape(-1, each.shape[-1])
            total = sums.setdefault(name, np.zeros((rows.shape[1],) * 2, np.float32))
            total += rows.T @ rows
    del session, weights
    for name in names:
        sums[name] /= np.float32(text.size)
    return sums


def _no_past(session: "ort.InferenceSession", rows: int = ROWS) -> Weights:
    """The cache of rows that have no tokens yet."""
    return {
        arg.name: np.zeros((rows, arg.shape[1], 0, arg.shape[3]), np.float32)
        for arg in session.get_inputs()
        if arg.name.startswith(_prefix(PAST))
    }


def _sample(
    session: "ort.InferenceSession",
    outputs: Sequence[str],
    tokens: int,
    past: Weights,
    starts: Ids,
) -> Iterator[tuple[Ids, list[FloatArray]]]:
    """Write text, one token for every row at a time, after ``past``, which grows.

    Yields:
        The ids [rows, 1] that each step reads, and its ``outputs``.
    """
    rows = len(starts)
    random = np.random.default_rng(_SEED)
    present = [name.replace(_prefix(PAST), _prefix(PRESENT)) for name in past]
    vocabulary = next(arg.shape[-1] for arg in session.get_outputs() if arg.name == LOGITS)
    ids = random.integers(0, vocabulary, (rows, 1))
    for step in tracked(range(tokens), "tokens"):
        feeds = past | {
            INPUT_IDS: ids,
            ATTENTION_MASK: np.ones((rows, step + 1), np.int64),
            POSITION_IDS: starts[:, None] + step,
        }
        logits, *rest = session.run([LOGITS, *present, *outputs], feeds)
        past |= dict(zip(past, rest, strict=False))
        yield ids, rest[len(past) :]
        # The largest of the logits with Gumbel noise added is a sample from their softmax.
        ids = (logits[:, -1] + random.gumbel(size=(rows, vocabulary))).argmax(-1)[:, None]


def _session(
    model: ir.Model, extend: Callable[[onnx.GraphProto], None], *, packed: bool = True
) -> "tuple[ort.InferenceSession, Weights]":
    """A session over ``model`` with the outputs that ``extend`` adds.

    Args:
        model: a graph with the inputs and outputs of every bundle.
        extend: changes a copy of it.
        packed: whether weights are packed, which makes single steps fast and takes as much memory once more.

    Returns:
        The session and the weights it reads, which must live as long.

    Raises:
        DeviceError: ONNX Runtime is missing or installed twice.
    """
    import onnxruntime as ort

    proto, weights = _split(model)
    extend(proto.graph)
    options = session_options(ort)
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    shared = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), shared)
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ), weights


def _split(model: ir.Model) -> tuple[onnx.ModelProto, Weights]:
    """The graph without its large weights, and those weights, shared where they are in memory already."""
    initializers = model.graph.initializers
    tensors = {
        name: value.const_value
        for name, value in initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= _SMALLEST_SHARED
    }
    try:
        for name, tensor in tensors.items():
            initializers[name].const_value = ir.ExternalTensor(
                _ELSEWHERE, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
        proto = ir.to_proto(model)
    finally:
        for name, tensor in tensors.items():
            initializers[name].const_value = tensor
    return proto, {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in tensors.items()}


def _measure(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Add an output [features] for each named value [..., features]: its sum of squares."""
    axes = "energy_axes"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), axes))
    for name in names:
        rows = f"{name}_rows"
        graph.node.append(onnx.helper.make_node("Flatten", [name], [rows], axis=-1))
        graph.node.append(onnx.helper.make_node("ReduceSumSquare", [rows, axes], [_energy(name)], keepdims=0))
        graph.output.append(onnx.helper.make_tensor_value_info(_energy(name), onnx.TensorProto.FLOAT, None))


def _show(graph: onnx.GraphProto, names: Sequence[str], *, only: bool = False) -> None:
    """Make each named value an output, and perhaps nothing else."""
    if only:
        del graph.output[:]
    for name in names:
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))


def _energy(name: str) -> str:
    return f"{name}_energy"


def _prefix(template: str) -> str:
    """What all names made from a template begin with."""
    return template.partition("{")[0]
