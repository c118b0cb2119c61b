"""Keys and values of some sequences in one piece of device memory, and moving them without leaving the device."""

from collections.abc import Sequence

import numpy as np

from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.layout import CacheLayout, CacheTensor
from llmbuilder.engine.onnxbytes import Node, Value, write_model

_ALIGNMENT = 256
"""Bytes: what cudaMalloc aligns to, and kernels that load vectors rely on."""


class Slab:
    """Room for ``slots`` sequences of ``capacity`` tokens: [slots, heads, capacity, size] for each tensor of a layout.

    Its content is undefined until something is moved in, unless it is made of ``zeros``.
    """

    def __init__(
        self, place: Place, layout: CacheLayout, slots: int, capacity: int, *, zeros: bool = False
    ) -> None:
        """Take the memory.

        Raises:
            DeviceError: the device does not have so much free.
        """
        self.layout = layout
        self.slots = slots
        self.capacity = capacity
        sizes = [slots * capacity * tensor.bytes_per_token for tensor in layout]
        starts = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)])
        self.size = int(starts[-1])
        self._memory = (place.zeros if zeros else place.empty)([self.size], np.uint8)
        base = self._memory.data_ptr()
        self._starts = [base + int(start) for start in starts[:-1]]

    def shape(self, tensor: CacheTensor, count: int) -> list[int]:
        """The shape of ``count`` slots of a tensor."""
        return [count, tensor.heads, self.capacity, tensor.size]

    def addresses(self, slot: int) -> list[int]:
        """Where a slot begins in each tensor."""
        return [
            start + slot * self.capacity * tensor.bytes_per_token
            for start, tensor in zip(self._starts, self.layout, strict=True)
        ]


class Mover:
    """Copies slots between slabs of any capacity: one `Pad` for each tensor, which adds zeros or crops at the end."""

    def __init__(self, place: Place, layout: CacheLayout) -> None:
        """Load the graph that moves tensors of ``layout`` on ``place``."""
        self._place = place
        self._layout = layout
        self._session = place.session(_graph(layout))
        self._zeros = Slab(place, layout, 1, 1, zeros=True)

    def clear(self, slab: Slab) -> None:
        """Fill a slab with zeros: what memory held before may be NaN, which no mask takes away."""
        self.move(self._zeros, 0, slab, 0, new_count=slab.slots)

    def move(
        self, source: Slab, first: int, target: Slab, to: int, *, count: int = 1, new_count: int = 0
    ) -> None:
        """Copy ``count`` slots from ``first`` on to those from ``to`` on; where the target is longer it gets zeros.

        ``new_count`` slots are written, at least ``count``; those behind get zeros.
        """
        written = max(count, new_count)
        binding = self._session.io_binding()
        pads = np.array([0, 0, 0, 0, written - count, 0, target.capacity - source.capacity, 0], np.int64)
        binding.bind_cpu_input("pads", pads)
        ends = zip(self._layout, source.addresses(first), target.addresses(to), strict=True)
        for number, (tensor, here, there) in enumerate(ends):
            where = (self._place.kind, self._place.index, tensor.dtype.type)
            binding.bind_input(f"source{number}", *where, source.shape(tensor, count), here)
            binding.bind_output(f"target{number}", *where, target.shape(tensor, written), there)
        with self._place.computing():
            self._session.run_with_iobinding(binding)


def _graph(layout: Sequence[CacheTensor]) -> bytes:
    inputs = [Value(f"source{n}", tensor.dtype, ["b", "h", "c", "d"]) for n, tensor in enumerate(layout)]
    outputs = [Value(f"target{n}", tensor.dtype, ["B", "H", "C", "D"]) for n, tensor in enumerate(layout)]
    nodes = [Node("Pad", [f"source{n}", "pads"], [f"target{n}"]) for n in range(len(layout))]
    return write_model(nodes, [*inputs, Value("pads", np.int64, ["8"])], outputs)
