"""What a choice needs of a step's logits, computed on the device: a few numbers a row come down, not the vocabulary."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmbuilder.arrays import FloatArray, Ids, Scores
from llmbuilder.decoding.remote import RemoteRow, RemoteRows, as_array
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.onnxbytes import Node, Value, write_model

if TYPE_CHECKING:
    import onnxruntime

FEW, MANY = 8, 65
"""Scores of a row that come down for greedy decoding, and for sampling: one more than the largest top_k they serve."""
SMALL = 256 << 10
"""Bytes of logits that come down sooner than they are looked at."""
_FLOAT = 1  # TensorProto.FLOAT


class TopKSessions:
    """The graphs that look at logits, loaded once for a model."""

    def __init__(self, place: Place, vocab_size: int) -> None:
        """Load them for rows of ``vocab_size`` logits.

        Raises:
            DeviceError: the device does not take them.
        """
        self.place = place
        self.counts = {count: min(count, vocab_size) for count in (FEW, MANY)}
        self.each = {
            count: place.session(_top_k_graph(known, vocab_size), captured=True)
            for count, known in self.counts.items()
        }


class StepOutput:
    """The logits of one workspace's steps, which stay on the device; the graphs that look at them are replayed."""

    def __init__(self, sessions: TopKSessions, logits: "onnxruntime.OrtValue", number: int) -> None:
        """Look at ``logits`` [rows, 1, V] on the device, through graphs with this ``number``."""
        rows, _, self.vocab_size = logits.shape()
        self.is_small = 4 * rows * self.vocab_size <= SMALL
        self._logits = logits
        self._sessions = sessions
        self._options = sessions.place.run_options(number)
        self._outputs = {}
        self._bindings = {}
        for count, session in sessions.each.items():
            output = sessions.place.empty([rows, 1, 2 * sessions.counts[count] + 1], np.float32)
            binding = session.io_binding()
            binding.bind_ortvalue_input("logits", logits)
            binding.bind_ortvalue_output("top", output)
            self._outputs[count], self._bindings[count] = output, binding

    def whole(self) -> FloatArray:
        """All logits [rows, V], brought down."""
        with self._sessions.place.computing():
            logits: FloatArray = self._logits.numpy()
        return logits[:, 0]

    def top(self, count: int) -> "TopScores":
        """The ``count`` highest of each row, `FEW` or `MANY`."""
        with self._sessions.place.computing():
            self._sessions.each[count].run_with_iobinding(self._bindings[count], self._options)
            found: FloatArray = self._outputs[count].numpy()
        return TopScores(found[:, 0], self.vocab_size)


class TopScores:
    """The highest scores of each row, falling, and their tokens."""

    def __init__(self, found: FloatArray, vocab_size: int) -> None:
        """Read what a graph has found [rows, 2 n + 1], see `_top_k_graph`."""
        self._found = found
        self._count = found.shape[1] // 2
        self._is_all = self._count == vocab_size

    @cached_property
    def likeliest(self) -> list[int | None]:
        """For each row the lowest token of the highest score; None if that may be one that is not among them."""
        found, count = self._found, self._count
        alone = (found[:, 0] > found[:, min(1, count - 1)]) & (found[:, -1] == 0)
        tokens = zip(found[:, count].tolist(), alone.tolist(), strict=True)
        return [int(token) if sure else self._among_equals(row) for row, (token, sure) in enumerate(tokens)]

    def largest(self, row: int) -> tuple[Ids, Scores] | None:
        """Those of a row, by token; None if not all scores of the row are finite."""
        found = self._found[row]
        if found[-1] != 0:
            return None
        tokens = found[self._count : -1].astype(np.int64)
        order = tokens.argsort()
        return tokens[order], found[: self._count][order]

    def _among_equals(self, row: int) -> int | None:
        found = self.largest(row)
        if found is None:
            return None
        tokens, scores = found
        equal = scores == scores.max()
        return int(tokens[equal][0]) if self._is_all or not equal.all() else None


class StepLogits(RemoteRows):
    """The logits of a step on the device, until the next step. What is asked of one row is computed for all."""

    def __init__(self, output: StepOutput, rows: int, lock: Any) -> None:
        """Tell of the first ``rows``; ``lock`` is held while the device computes."""
        self._output = output
        self._rows = rows
        self._lock = lock

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def __getitem__(self, row: int) -> RemoteRow:
        """The logits of a row."""
        if not -self._rows <= row < self._rows:
            raise IndexError(f"there is no row {row} among {self._rows}")
        return _StepRow(self, row % self._rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        """All of them [rows, V]."""
        return as_array(self.whole, dtype, copy=copy)

    @cached_property
    def whole(self) -> FloatArray:
        """All of them [rows, V], brought down once."""
        with self._lock:
            return self._output.whole()[: self._rows]

    @cached_property
    def few(self) -> TopScores:
        """What greedy decoding needs."""
        with self._lock:
            return self._output.top(FEW)

    @cached_property
    def many(self) -> TopScores:
        """What sampling among the likeliest needs."""
        with self._lock:
            return self._output.top(MANY)


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
        return self._step.few.likeliest[self._row]

    def largest(self) -> tuple[Ids, Scores] | None:
        return self._step.many.largest(self._row)


def _top_k_graph(count: int, vocab_size: int) -> bytes:
    """Of each row the ``count`` highest scores, falling, their tokens, and 0 if all are finite, else NaN.

    All as float32, which holds every token's number. CUDA's ReduceMax takes milliseconds for this, its TopK does not.
    """
    nodes = [
        Node("TopK", ["logits", "count"], ["scores", "tokens"], {"axis": -1, "largest": 1, "sorted": 1}),
        Node("Cast", ["tokens"], ["numbers"], {"to": _FLOAT}),
        Node("MatMul", ["logits", "zeros"], ["finite"]),  # 0 times NaN or infinity is NaN
        Node("Concat", ["scores", "numbers", "finite"], ["top"], {"axis": -1}),
    ]
    return write_model(
        nodes,
        [Value("logits", np.float32, ["rows", "one", "vocab"])],
        [Value("top", np.float32, ["rows", "one", "width"])],
        {"count": np.array([count]), "zeros": np.zeros((vocab_size, 1), np.float32)},
    )
