"""What a choice needs of a step's logits, computed on the device: a few numbers a row come down, not the vocabulary."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from llmbuilder.arrays import FloatArray, Ids, Scores
from llmbuilder.decoding.remote import RemoteRow, RemoteRows, as_array
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.onnxbytes import Node, Value, write_model

if TYPE_CHECKING:
    import onnxruntime

MOST = 65
"""Scores of a row that come down for sampling: one more than the largest top_k they serve."""
SMALL = 256 << 10
"""Bytes of logits that come down sooner than they are looked at."""
_FLOAT = 1  # TensorProto.FLOAT


class ChoiceSessions:
    """The graphs that look at logits, loaded once for a model."""

    def __init__(self, place: Place, vocab_size: int) -> None:
        """Load them for rows of ``vocab_size`` logits.

        Raises:
            DeviceError: the device does not take them.
        """
        self.place = place
        self.count = min(MOST, vocab_size)
        self.likeliest = place.session(_likeliest_graph(vocab_size), captured=True)
        self.largest = place.session(_largest_graph(self.count, vocab_size), captured=True)


class StepOutput:
    """The logits of one workspace's steps, which stay on the device; the graphs that look at them are replayed."""

    def __init__(self, sessions: ChoiceSessions, logits: "onnxruntime.OrtValue", number: int) -> None:
        """Look at ``logits`` [rows, 1, V] on the device, through graphs with this ``number``."""
        rows, _, vocab_size = logits.shape()
        self.is_small = 4 * rows * vocab_size <= SMALL
        self._logits = logits
        self._place = sessions.place
        self._options = sessions.place.run_options(number)
        self._likeliest = self._bound(sessions.likeliest, 2)
        self._largest = self._bound(sessions.largest, 2 * sessions.count + 1)

    def whole(self) -> FloatArray:
        """All logits [rows, V], brought down."""
        with self._place.computing():
            logits: FloatArray = self._logits.numpy()
        return logits[:, 0]

    def likeliest(self) -> list[int | None]:
        """For each row the lowest token of the highest score; None if not all scores of the row are finite."""
        tokens, doubts = self._found(self._likeliest).T.tolist()
        return [None if doubt else int(token) for token, doubt in zip(tokens, doubts, strict=True)]

    def largest(self) -> "LargestScores":
        """The highest scores of each row."""
        return LargestScores(self._found(self._largest))

    def _bound(self, session: "onnxruntime.InferenceSession", width: int) -> "_Bound":
        rows = self._logits.shape()[0]
        found = self._place.empty([rows, 1, width], np.float32)
        binding = session.io_binding()
        binding.bind_ortvalue_input("logits", self._logits)
        binding.bind_ortvalue_output("found", found)
        return _Bound(session, binding, found)

    def _found(self, bound: "_Bound") -> FloatArray:
        """What a graph finds of each row [rows, width]."""
        with self._place.computing():
            bound.session.run_with_iobinding(bound.binding, self._options)
            found: FloatArray = bound.found.numpy()
        return found[:, 0]


class _Bound(NamedTuple):
    """A session with what it reads and writes."""

    session: "onnxruntime.InferenceSession"
    binding: "onnxruntime.IOBinding"
    found: "onnxruntime.OrtValue"


class LargestScores:
    """The highest scores of each row, falling, and their tokens."""

    def __init__(self, found: FloatArray) -> None:
        """Read what a graph has found [rows, 2 n + 1], see `_largest_graph`."""
        self._found = found
        self._count = found.shape[1] // 2

    def of(self, row: int) -> tuple[Ids, Scores] | None:
        """Those of a row, by token; None if not all scores of the row are finite."""
        found = self._found[row]
        if found[-1] != 0:
            return None
        tokens = found[self._count : -1].astype(np.int64)
        order = tokens.argsort()
        return tokens[order], found[: self._count][order]


class StepLogits(RemoteRows):
    """The logits of a step on the device, until the next step. What is asked of one row is computed for all."""

    def __init__(self, output: StepOutput, rows: int, lock: Any) -> None:
        """Tell of the first ``rows``; ``lock`` is held while the device computes."""
        self._output = output
        self._rows = range(rows)
        self._lock = lock

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def __getitem__(self, row: int) -> RemoteRow:
        """The logits of a row."""
        return _StepRow(self, self._rows[row])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        """All of them [rows, V]."""
        return as_array(self.whole, dtype, copy=copy)

    @cached_property
    def whole(self) -> FloatArray:
        """All of them [rows, V], brought down once."""
        with self._lock:
            return self._output.whole()[: len(self)]

    @cached_property
    def likeliest(self) -> list[int | None]:
        """What greedy decoding needs."""
        with self._lock:
            return self._output.likeliest()

    @cached_property
    def largest(self) -> LargestScores:
        """What sampling among the likeliest needs."""
        with self._lock:
            return self._output.largest()


class _StepRow(RemoteRow):
    """One row of them."""

    __slots__ = ("_row", "_step")

    def __init__(self, step: StepLogits, row: int) -> None:
        self._step = step
        self._row = row

    def whole(self) -> FloatArray:
        row: FloatArray = self._step.whole[self._row]
        return row

    def likeliest(self) -> int | None:
        return self._step.likeliest[self._row]

    def largest(self) -> tuple[Ids, Scores] | None:
        return self._step.largest.of(self._row)


def _likeliest_graph(vocab_size: int) -> bytes:
    """Of each row the lowest token of the highest score, and 0 if all are finite, else NaN.

    Both as float32, which holds every token's number. ArgMax takes the first of equals by ONNX's definition, and ONNX
    Runtime's CUDA kernel does.
    """
    nodes = [
        Node("ArgMax", ["logits"], ["token"], {"axis": -1}),
        Node("Cast", ["token"], ["number"], {"to": _FLOAT}),
        _finite(),
        Node("Concat", ["number", "finite"], ["found"], {"axis": -1}),
    ]
    return _choice_graph(nodes, _zeros(vocab_size))


def _largest_graph(count: int, vocab_size: int) -> bytes:
    """Of each row the ``count`` highest scores, falling, their tokens, and 0 if all are finite, else NaN."""
    nodes = [
        Node("TopK", ["logits", "count"], ["scores", "tokens"], {"axis": -1, "largest": 1, "sorted": 1}),
        Node("Cast", ["tokens"], ["numbers"], {"to": _FLOAT}),
        _finite(),
        Node("Concat", ["scores", "numbers", "finite"], ["found"], {"axis": -1}),
    ]
    return _choice_graph(nodes, {"count": np.array([count]), **_zeros(vocab_size)})


def _finite() -> Node:
    """0 times NaN or infinity is NaN. CUDA's ReduceMax takes milliseconds to find them."""
    return Node("MatMul", ["logits", "zeros"], ["finite"])


def _zeros(vocab_size: int) -> dict[str, FloatArray]:
    return {"zeros": np.zeros((vocab_size, 1), np.float32)}


def _choice_graph(nodes: Sequence[Node], constants: Mapping[str, Any]) -> bytes:
    """From logits [rows, 1, V] to what is found [rows, 1, width]."""
    return write_model(
        nodes,
        [Value("logits", np.float32, ["rows", "one", "vocab"])],
        [Value("found", np.float32, ["rows", "one", "width"])],
        constants,
    )
