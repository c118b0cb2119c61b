"""Shells: bundles without the weights that can be drawn at random or read from a checkpoint, small enough to travel.

A shell is a folder with the bundle's other files, compressed, and `recipe.json`, which says what to put where in the
weights file. `cudacheck.filling` makes a bundle of it again.
"""

import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from llmbuilder.bundle.manifest import GRAPH_NAME, MANIFEST_NAME, WEIGHTS_NAME

RECIPE = "recipe.json"
KEPT = "kept"
"""Name of the bytes of the weights file that the recipe does not make."""
LARGE = 256 << 10
"""Bytes from which a weight matrix is drawn at random."""
WORTH = 16 << 10
"""Bytes from which one is read from the checkpoint."""
_MATRICES = {"MatMul", "FusedMatMul", "Gemm", "Gather"}
"""Operators whose constant matrices are weights; those of others are tables, such as sines."""
_PACKING = 9 | lzma.PRESET_EXTREME

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Piece:
    """A part of the weights file. ``tensor`` of the checkpoint, or normal numbers times ``scale``."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    tensor: str | None = None
    transposed: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Recipe:
    """How the weights file is made: ``pieces`` in the order of their offsets, kept bytes between them."""

    size: int
    pieces: tuple[Piece, ...]
    checkpoint: str | None = None
    """Path from the root of the repository."""
    sha256: str | None = None
    """Of the weights file where no piece is random."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """The configuration with which transformers makes a network of the same shape."""

    def write(self, folder: Path) -> None:
        """Put it into a shell."""
        (folder / RECIPE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Recipe":
        """That of a shell."""
        raw = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        pieces = tuple(Piece(**piece | {"shape": tuple(piece["shape"])}) for piece in raw.pop("pieces"))
        return cls(pieces=pieces, **raw)

    def gaps(self) -> Iterator[tuple[int, int]]:
        """(start, end) of what lies between the pieces."""
        start = 0
        for piece in self.pieces:
            yield start, piece.offset
            start = piece.offset + piece.size
        yield start, self.size


def make_shell(
    bundle: Path,
    folder: Path,
    *,
    checkpoint: Mapping[str, Array] | None = None,
    checkpoint_name: str | None = None,
    network: Mapping[str, Any] | None = None,
) -> Recipe:
    """Make a shell of ``bundle`` in the new ``folder``.

    Args:
        bundle: a whole bundle.
        folder: to be made.
        checkpoint: tensors by name, in which each large weight is looked for; None: large ones are drawn at random.
        checkpoint_name: the checkpoint's path from the root of the repository.
        network: see `Recipe`.
    """
    weights = np.memmap(bundle / WEIGHTS_NAME, np.uint8, "r")
    pieces = sorted(_pieces(bundle / GRAPH_NAME, weights, checkpoint), key=lambda piece: piece.offset)
    recipe = Recipe(
        size=len(weights),
        pieces=tuple(pieces),
        checkpoint=checkpoint_name,
        sha256=hashlib.sha256(memoryview(weights.data)).hexdigest() if checkpoint is not None else None,
        network=network or {},
    )
    folder.mkdir(parents=True)
    recipe.write(folder)
    names = [path.name for path in bundle.iterdir() if path.name != WEIGHTS_NAME]
    files = {name: (bundle / name).read_bytes() for name in names}
    files[KEPT] = b"".join(weights[start:end].tobytes() for start, end in recipe.gaps())
    for name, content in files.items():
        (folder / f"{name}.xz").write_bytes(lzma.compress(content, preset=_PACKING))
    return recipe


def unpack(folder: Path, name: str) -> bytes:
    """The content of one of a shell's files."""
    return lzma.decompress((folder / f"{name}.xz").read_bytes())


def packed(folder: Path) -> list[str]:
    """Names of a shell's files, the manifest last."""
    names = {path.stem for path in folder.glob("*.xz")} - {KEPT}
    return sorted(names, key=lambda name: (name == MANIFEST_NAME, name))


def _pieces(path: Path, weights: Array, checkpoint: Mapping[str, Array] | None) -> Iterator[Piece]:
    graph = onnx.load(str(path), load_external_data=False).graph
    uses = _uses(graph)
    for tensor in graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        used = uses.get(tensor.name, [])
        if not where or len(tensor.dims) != 2 or not any(node.op_type in _MATRICES for node in used):
            continue
        offset, shape = int(where["offset"]), tuple(tensor.dims)
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        piece = Piece(offset=offset, shape=shape, dtype=dtype.name)
        if checkpoint is None:
            if piece.size >= LARGE and dtype.kind == "f":
                yield Piece(offset, shape, dtype.name, scale=_fan_in(used[0], shape) ** -0.5)
        elif piece.size >= WORTH:
            content = weights[offset : offset + piece.size].view(dtype).reshape(shape)
            if (found := _found(content, checkpoint)) is not None:
                yield Piece(offset, shape, dtype.name, tensor=found[0], transposed=found[1])


def _uses(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    uses: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    return uses


def _fan_in(node: onnx.NodeProto, shape: tuple[int, ...]) -> int:
    """How many numbers a product with this weight sums up."""
    flipped = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return shape[-1] if flipped or node.op_type == "Gather" else shape[0]


def _found(content: Array, checkpoint: Mapping[str, Array]) -> tuple[str, bool] | None:
    """The tensor of the checkpoint that is ``content``, and whether it lies there transposed."""
    for name, tensor in checkpoint.items():
        for transposed in (False, True):
            candidate = tensor.T if transposed else tensor
            if candidate.shape == content.shape and np.array_equal(candidate.astype(content.dtype), content):
                return name, transposed
    return None
