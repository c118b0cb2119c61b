"""What the pickle of a checkpoint may say: plain values and containers, and tensors of ordinary numbers.

PyTorch's own reader (``weights_only``) runs no code of a pickle either, but takes as long as a pickle makes it take.
Reading the instructions first (https://docs.python.org/3/library/pickletools.html) costs less than following them.
"""

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import shown

_BASE, _SHARE, _MOST = 1 << 20, 32, 16 << 20
"""Bytes that a pickle may have in any case, and for how many bytes of the file one more; and never more than that."""
_BYTES_EACH = 3
"""Fewest bytes of an instruction, on average: it is the number of instructions that takes time."""
_LARGEST_TUPLE = 100_000
"""Values within a tuple, those of tuples inside counted as often as they occur: as many are hashed if it is a key."""
_NUMBERS = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_ALLOWED = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch device",
        "torch Tensor",
        "torch._tensor Tensor",
        "torch._tensor _rebuild_from_type_v2",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_parameter_with_state",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch.nn.parameter Parameter",
        *(f"torch {name}Storage" for name in _NUMBERS),
        *(f"torch {name}" for name in _TYPES),
    }
)
_UNFIT = {
    "sparse": "sparse tensors",
    "nested": "nested tensors",
    "meta": "tensors without values",
    "Complex": "complex numbers",
    "complex": "complex numbers",
    "qtensor": "quantized tensors",
    "QInt": "quantized tensors",
    "QUInt": "quantized tensors",
    "_rebuild_tensor_v3": "tensors of an unusual type, such as quantized ones",
}
_PUT = frozenset({"BINPUT", "LONG_BINPUT"})
_GET = frozenset({"BINGET", "LONG_BINGET"})
_MADE = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE"})
_PLAIN = {
    "PROTO", "STOP", "GLOBAL", "NEWOBJ", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "EMPTY_TUPLE",
    "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "NONE", "NEWFALSE", "NEWTRUE", "BINPERSID", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING",
}  # fmt: skip
"""The instructions that ``torch.save`` writes, besides those above."""


_ADVICE = "Save only the model's state dict and config, with torch.save, or get it from a source you trust."


def check_pickle(stream: IO[bytes], path: Path, file_size: int) -> None:
    """Read the instructions of a pickle up to its end, following none.

    Args:
        stream: the pickle, or a file that begins with it here.
        path: the file, for errors.
        file_size: bytes of the whole file.

    Raises:
        ExportError: it is longer than a checkpoint's, or says anything else than a checkpoint may.
    """
    stack = _Stack()
    bounded = _Bounded(stream, min(_MOST, _BASE + file_size // _SHARE))
    try:
        for operation, argument in _instructions(bounded):
            if operation.name == "GLOBAL":
                _check_global(str(argument), path)
            if stack.follow(operation, argument) > _LARGEST_TUPLE:
                raise ExportError(f"{path} nests values deeper than a checkpoint does. {_ADVICE}")
    except _TooLongError as error:
        raise ExportError(
            f"{path} describes its contents in more bytes than a checkpoint of its size does, {bounded.limit:,}. "
            f"{_ADVICE}"
        ) from error
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{path} is damaged, or a pickle of another kind than torch.save writes: loading it could run code. "
            f"{_ADVICE}"
        ) from error


def _instructions(bounded: "_Bounded") -> Iterator[tuple[pickletools.OpcodeInfo, object]]:
    for count, (operation, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", bounded))):
        if count > bounded.limit // _BYTES_EACH:
            raise _TooLongError
        yield operation, argument


def _check_global(name: str, path: Path) -> None:
    if name in _ALLOWED:
        return
    for part, what in _UNFIT.items():
        if name.startswith("torch") and part in name:
            raise ExportError(
                f"{path} holds {what}, which cannot be exported. Save plain floating-point tensors."
            )
    raise ExportError(
        f"{path} holds more than weights and plain values ({shown(name.replace(' ', '.'))}): "
        f"loading it could run code. {_ADVICE}"
    )


class _TooLongError(Exception):
    pass


class _Bounded:
    """A file that ends with an error after so many bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.limit = self._left = limit
        self._stream = stream

    def read(self, size: int) -> bytes:
        return self._counted(self._stream.read(min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._stream.readline(self._left + 1))

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise _TooLongError
        return content


class _Stack:
    """How many values each entry of an unpickler's stack would hold."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[object, int] = {}

    def follow(self, operation: pickletools.OpcodeInfo, argument: object) -> int:
        """Do as an instruction says; return the size of the tuple or object that it makes, else 0.

        Raises:
            ValueError: ``torch.save`` does not write it.
            IndexError: there is no value that it wants.
            KeyError: there is no value of that number.
        """
        name = operation.name
        if name in _PUT:
            self._memo[argument] = self._sizes[-1]
        elif name in _GET:
            self._sizes.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(self._sizes))
        elif name in _MADE or name in _PLAIN:
            size = self._take(operation)
            self._sizes += [size] * len(operation.stack_after)
            return size if name in _MADE else 0
        else:
            raise ValueError(name)
        return 0

    def _take(self, operation: pickletools.OpcodeInfo) -> int:
        """Remove what an instruction takes off the stack, and return the size of it all and one more."""
        before = operation.stack_before
        single = len(before)
        taken = 1
        if pickletools.markobject in before:
            start = self._marks.pop()
            taken += sum(self._sizes[start:])
            del self._sizes[start:]
            single = before.index(pickletools.markobject)
        for _ in range(single):
            taken += self._sizes.pop()
        return taken
