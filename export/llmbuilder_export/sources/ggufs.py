"""GGUF files: what their header says, and weights in float32; nothing in them is believed before it is checked.

The layout is that of ggml's ``docs/gguf.md``, versions 2 and 3: counts, metadata, names and places of tensors, tensors.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from llmbuilder.arrays import FloatArray
from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import GGUF_MAGIC, refuse_special, shown

_VERSIONS = (2, 3)
_AGAIN = "Get the file again."
_MOST_HEADER = 64 << 20
"""Bytes in which a file may name all it holds: the largest vocabularies take 20 MB."""
_MOST_TENSORS = 100_000
_MOST_DIMENSIONS = 4
_ALIGNMENT = 32
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
T = TypeVar("T")


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in a file, and how."""

    name: str
    shape: tuple[int, ...]
    """As in PyTorch: rows first."""
    kind: GGMLQuantizationType
    start: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class GGUF:
    """A file's metadata by their keys, and its tensors by their names."""

    path: Path
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def architecture(self) -> str:
        """What the file says that the model is, in llama.cpp's words."""
        return self.need("general.architecture", str)

    def need(self, key: str, kind: type[T]) -> T:
        """A value that must be there.

        Raises:
            ExportError: it is not, or is of another kind.
        """
        value = self.get(key, kind)
        if value is None:
            raise ExportError(f"{self.path} does not say {key}. {_AGAIN}")
        return value

    def get(self, key: str, kind: type[T]) -> T | None:
        """A value, or None where there is none.

        Raises:
            ExportError: it is of another kind, or no finite number.
        """
        value = self.facts.get(key)
        if value is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right or (isinstance(value, float) and not math.isfinite(value)):
            raise ExportError(f"{self.path} says {key} {shown(value)}, which it cannot be. {_AGAIN}")
        return cast("T", value)

    def weight(self, name: str) -> FloatArray:
        """A tensor's numbers in float32, rows first.

        Raises:
            ExportError: gguf cannot read this kind.
        """
        tensor = self.tensors[name]
        stored = np.memmap(self.path, np.uint8, "r", tensor.start, (tensor.size,))
        rows = stored.reshape(-1, tensor.size // math.prod(tensor.shape[:-1]))
        try:
            numbers = dequantize(rows, tensor.kind)
        except NotImplementedError as error:
            raise ExportError(
                f"{self.path} stores {shown(name)} as {tensor.kind.name}, which cannot be read here. "
                "Export a file of another quantization, such as Q8_0."
            ) from error
        return np.array(numbers, np.float32).reshape(tensor.shape)


def read_gguf(path: Path) -> GGUF:
    """Read all of a file but its tensors.

    Raises:
        ExportError: it is no plain file, damaged, of another version, or a part of a model.
    """
    refuse_special(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            found = _read(path, content)
        except (struct.error, UnicodeDecodeError, OverflowError) as error:
            raise ExportError(f"{path} is damaged: its header cannot be read ({error}). {_AGAIN}") from error
    if (parts := found.get("split.count", int)) is not None and parts > 1:
        raise ExportError(
            f"{path} is one of {parts} parts of a model. Put them together with `llama-gguf-split --merge`."
        )
    return found


def _read(path: Path, content: mmap.mmap) -> GGUF:
    header = _Header(path, content)
    version = header.number("<u4")
    if version not in _VERSIONS:
        raise ExportError(
            f"{path} is a GGUF file of version {version}; versions 2 and 3 can be read, in little-endian order."
        )
    tensors, facts_count = header.number("<u8"), header.number("<u8")
    if tensors > _MOST_TENSORS:
        raise ExportError(f"{path} says that it holds {tensors:,} tensors, more than any model has. {_AGAIN}")
    facts: dict[str, Any] = {}
    for _ in range(facts_count):
        key = header.text()
        if key in facts:
            raise ExportError(f"{path} says {shown(key)} twice. {_AGAIN}")
        facts[key] = header.value(header.number("<u4"))
    places = [(header.text(), *header.place()) for _ in range(tensors)]
    alignment = facts.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise ExportError(f"{path} says general.alignment {shown(alignment)}, which it cannot be. {_AGAIN}")
    begin = -(-header.at // alignment) * alignment
    return GGUF(path, facts, {tensor.name: tensor for tensor in _tensors(path, places, begin, len(content))})


def _tensors(
    path: Path, places: list[tuple[str, tuple[int, ...], int, int]], begin: int, end: int
) -> Iterator[Tensor]:
    """The tensors, if each lies in the file, once, and all together are no larger than that."""
    seen: set[str] = set()
    left = end - begin
    for name, shape, number, offset in places:
        try:
            kind = GGMLQuantizationType(number)
        except ValueError as error:
            raise ExportError(
                f"{path} stores {shown(name)} in the form {number}, which the installed gguf does not know. "
                "Update it: pip install --upgrade gguf"
            ) from error
        block, block_size = GGML_QUANT_SIZES[kind]
        size = math.prod(shape) // block * block_size
        left -= size
        start = begin + offset
        if name in seen or not shape or 0 in shape or shape[-1] % block or left < 0 or start + size > end:
            raise ExportError(f"{path} is damaged: it does not hold {shown(name)} once and whole. {_AGAIN}")
        seen.add(name)
        yield Tensor(name, shape, kind, start, size)


class _Header:
    """A place in a file's header that moves on with all that is read."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self.at = len(GGUF_MAGIC)

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0].item()

    def numbers(self, kind: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self._take(count * np.dtype(kind).itemsize), kind)

    def text(self) -> str:
        return self._take(self.number("<u8")).decode("utf-8")

    def value(self, kind: int, *, inner: bool = False) -> Any:
        """A value of metadata; an array is a list of texts or an array of numbers."""
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            number = self.number(_SCALARS[kind])
            return bool(number) if kind == _BOOL else number
        if kind != _ARRAY or inner:
            raise ExportError(
                f"{self._path} is damaged: it has metadata of the unknown kind {kind}. {_AGAIN}"
            )
        kind, count = self.number("<u4"), self.number("<u8")
        if kind in _SCALARS:
            return self.numbers(_SCALARS[kind], count)
        return [self.value(kind, inner=True) for _ in range(count)]

    def place(self) -> tuple[tuple[int, ...], int, int]:
        """Shape, kind and offset of a tensor."""
        count = self.number("<u4")
        if count > _MOST_DIMENSIONS:
            raise ExportError(f"{self._path} is damaged: a tensor has {count} dimensions. {_AGAIN}")
        shape = tuple(reversed(self.numbers("<u8", count).tolist()))
        return shape, self.number("<u4"), self.number("<u8")

    def _take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > min(len(self._content), _MOST_HEADER):
            what = (
                "ends within its header"
                if self.at > len(self._content)
                else "has a header beyond any model's"
            )
            raise ExportError(f"{self._path} is damaged: it {what}. {_AGAIN}")
        return self._content[start : self.at]
