"""What a graph says of its KV cache, and that its manifest says the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmbuilder.bundle.manifest import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    PAST,
    POSITION_IDS,
    PRESENT,
    CacheType,
    ModelFacts,
)
from llmbuilder.errors import BundleError

if TYPE_CHECKING:
    import onnxruntime

_TYPES: Mapping[str, CacheType] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
}

_REMEDY = "Copy the whole bundle again, or export the model again."


@dataclass(frozen=True, slots=True)
class CacheTensor:
    """The keys, or the values, of one layer: [slots, heads, capacity, size]."""

    past: str
    """Name of the graph's input."""
    present: str
    """Name of the graph's output, written in place."""
    heads: int
    size: int
    dtype: np.dtype[np.generic]

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token takes."""
        return self.heads * self.size * self.dtype.itemsize


CacheLayout = tuple[CacheTensor, ...]
"""Every tensor of a cache; each may have its own number of heads and size."""


def read_layout(
    session: "onnxruntime.InferenceSession", facts: ModelFacts, cache_type: CacheType, where: object
) -> CacheLayout:
    """Names, types and sizes of the cache, from the graph of the bundle ``where``.

    Raises:
        BundleError: inputs or outputs are missing, or differ from the manifest.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    wanted = list(_wanted(facts, np.dtype(cache_type)))
    _check_names(wanted, set(inputs), set(outputs), where)
    shape = outputs[LOGITS].shape
    vocab = shape[-1] if shape else None
    if vocab != facts.vocab_size:
        raise _contradiction(where, f"computes {vocab} logits", facts.vocab_size)
    for tensor in wanted:
        _check_tensor(tensor, inputs[tensor.past], where)
    return tuple(wanted)


def _wanted(facts: ModelFacts, dtype: np.dtype[np.generic]) -> Iterator[CacheTensor]:
    """The tensors that a manifest promises."""
    for layer, cache in enumerate(facts.layers):
        for kind, size in (("key", cache.key_size), ("value", cache.value_size)):
            past, present = (name.format(layer=layer, kind=kind) for name in (PAST, PRESENT))
            yield CacheTensor(past, present, cache.heads, size, dtype)


def _check_names(wanted: Sequence[CacheTensor], inputs: set[str], outputs: set[str], where: object) -> None:
    """The graph has what a step feeds and reads, and no layer more."""
    pasts = {tensor.past for tensor in wanted}
    ins = {INPUT_IDS, ATTENTION_MASK, POSITION_IDS, *pasts}
    outs = {LOGITS, *(tensor.present for tensor in wanted)}
    missing = (ins - inputs) | (outs - outputs)
    surplus = {name for name in inputs - pasts if name.startswith(PAST.partition("{")[0])}
    for what, names in (("lacks", missing), ("also has", surplus)):
        if names:
            raise BundleError(
                f"The graph of {where} {what} {', '.join(sorted(names)[:4])}: "
                f"it is not the one its manifest describes. {_REMEDY}"
            )


def _check_tensor(wanted: CacheTensor, found: Any, where: object) -> None:
    """An input of the graph has the type and shape that the manifest promises."""
    if found.type not in _TYPES:
        raise BundleError(
            f"The graph of {where} has a cache of type {found.type}, which this release does not know. "
            "Upgrade llmbuilder-runtime, or export the model again with this release."
        )
    if _TYPES[found.type] != wanted.dtype:
        raise _contradiction(where, f"has {wanted.past} in {_TYPES[found.type]}", wanted.dtype)
    if found.shape[1::2] != [wanted.heads, wanted.size]:
        shape = f"{wanted.heads} heads of size {wanted.size}"
        raise _contradiction(where, f"has {wanted.past} in shape {found.shape}", shape)


def _contradiction(where: object, graph: str, manifest: object) -> BundleError:
    return BundleError(f"The graph of {where} {graph}, its manifest says {manifest}. {_REMEDY}")
