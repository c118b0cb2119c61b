"""Trace a network into an ONNX graph with the names every ONNX language model tool uses."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
import torch

from llmbuilder.bundle.manifest import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    LOGITS_START,
    PAST,
    POSITION_IDS,
    PRESENT,
    ModelFacts,
)
from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import Cache, CachedAttention
from llmbuilder_export.networks.network import Network
from llmbuilder_export.networks.refusals import in_a_sentence

OPSET = 20
_IR_VERSION = 10
# Sizes to trace with: all different and none below 2, so that no dimension is taken for a constant or for another.
_BATCH, _SEQUENCE, _PAST, _WANTED = 2, 3, 5, 2


class _CachedNetwork(torch.nn.Module):
    """The network with its cache as inputs and outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: Sequence[Cache],
        start: torch.Tensor,
    ) -> tuple[torch.Tensor, list[Cache]]:
        attention = CachedAttention(attention_mask, past)
        logits = self.network(input_ids, position_ids, attention, start)
        return logits, attention.present


def trace(network: Network) -> ir.Model:
    """Trace ``network``; its weights are shared with the graph, not copied.

    Raises:
        ExportError: PyTorch cannot trace it.
    """
    wrapped = _CachedNetwork(network).eval()
    dynamic = torch.export.Dim.DYNAMIC
    rows = {0: dynamic, 1: dynamic}
    cache = {0: dynamic, 2: dynamic}
    shapes = (rows, rows, rows, [(cache, cache)] * network.facts.num_layers, None)
    family = network.facts.architecture
    reason = "it computes something that cannot be written as a graph, or changes its steps with the text"
    with in_a_sentence(family, reason), _quiet(), torch.no_grad():
        program = torch.onnx.export(
            wrapped,
            _example(network.facts),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ExportError(
            f"{family} cannot be exported: PyTorch {torch.__version__} wrote no graph of it. "
            "Install the tested version, which constraints.txt names."
        )
    model = program.model
    model.ir_version = _IR_VERSION
    _name(model.graph, network.facts)
    return model


def _example(facts: ModelFacts) -> tuple[object, ...]:
    ids = torch.zeros(_BATCH, _SEQUENCE, dtype=torch.int64)
    positions = torch.arange(_SEQUENCE).expand(_BATCH, -1)
    mask = torch.ones(_BATCH, _SEQUENCE + 1, dtype=torch.int64)
    past = [
        tuple(torch.zeros(_BATCH, layer.heads, _PAST, size) for size in (layer.key_size, layer.value_size))
        for layer in facts.layers
    ]
    return ids, mask, positions, past, torch.tensor([-_WANTED])


def _name(graph: ir.Graph, facts: ModelFacts) -> None:
    """Give inputs and outputs their names and dimensions, and ``logits_start`` its default."""
    rows = ("batch_size", "sequence_length")
    cached = [
        (index, kind, layer.heads, size)
        for index, layer in enumerate(facts.layers)
        for kind, size in (("key", layer.key_size), ("value", layer.value_size))
    ]
    inputs: dict[str, tuple[int | str, ...]] = {
        INPUT_IDS: rows,
        ATTENTION_MASK: ("batch_size", "total_sequence_length"),
        POSITION_IDS: rows,
    }
    inputs |= {
        PAST.format(layer=index, kind=kind): ("batch_size", heads, "past_sequence_length", size)
        for index, kind, heads, size in cached
    }
    inputs[LOGITS_START] = (1,)
    outputs: dict[str, tuple[int | str, ...]] = {LOGITS: ("batch_size", "logits_length", facts.vocab_size)}
    outputs |= {
        PRESENT.format(layer=index, kind=kind): ("batch_size", heads, "present_sequence_length", size)
        for index, kind, heads, size in cached
    }
    for values, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for value, (name, shape) in zip(values, names.items(), strict=True):
            value.name = name
            value.shape = ir.Shape(shape)
    start = graph.inputs[-1]
    start.const_value = ir.tensor([-1], dtype=ir.DataType.INT64, name=LOGITS_START)
    graph.register_initializer(start)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
