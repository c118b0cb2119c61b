"""What a choice needs of a step's logits, computed on the device: a few numbers a row come down, not the vocabulary."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmbuilder.arrays import FloatArray, Ids, Scores
from llmbuilder.decoding.remote import RemoteRow, RemoteRows
from llmbuilder.engine.cuda.onnxbytes import Node, Value, write_model
from llmbuilder.engine.cuda.place import Place

if TYPE_CHECKING:
    import onnxruntime

LARGEST = 65
"""Scores told for sampling: one more than the largest top_k that they serve."""
_FLOAT = 1  # TensorProto.FLOAT
_BEST, _TOKEN, _EQUAL, _NUMBERS = range(4)


class Chooser:
    """The graphs that look at logits, for the step of one workspace; each is captured and replayed."""

    def __init__(self, sessions: "ChoosingSessions", logits: "onnxruntime.OrtValue", number: int) -> None:
        """Look at ``logits`` [rows, 1, V] on the device, through graphs with this ``number``."""
        self._logits = logits
        rows, _, self.vocab_size = logits.shape()
        place = sessions.place
        self._sessions = sessions
        self._outputs = [place.empty([rows, 1, width], np.float32) for width in (4, 2 * sessions.largest)]
        self._bindings = []
        for session, output in zip(sessions.each, self._outputs, strict=True):
            binding = session.io_binding()
            binding.bind_ortvalue_input("logits", logits)
            binding.bind_ortvalue_output("told", output)
            self._bindings.append(binding)
        self._options = place.run_options(number)

    def whole(self) -> FloatArray:
        """All logits [rows, V], brought down."""
        logits: FloatArray = self._logits.numpy()
        return logits[:, 0]

    def best(self) -> FloatArray:
        """For each row its highest score, its token, how many scores equal it, and how many are numbers [rows, 4]."""
        return self._told(0)

    def largest(self) -> tuple[Scores, FloatArray]:
        """For each row its highest scores, falling, and their tokens [rows, n]."""
        told = self._told(1)
        scores, tokens = np.split(told, 2, axis=1)
        return scores, tokens

    def _told(self, which: int) -> FloatArray:
        self._sessions.each[which].run_with_iobinding(self._bindings[which], self._options)
        told: FloatArray = self._outputs[which].numpy()
        return told[:, 0]


class ChoosingSessions:
    """The two graphs, loaded once for a model."""

    def __init__(self, place: Place, vocab_size: int) -> None:
        """Load them for rows of ``vocab_size`` logits."""
        self.place = place
        self.largest = min(LARGEST, vocab_size)
        self.each = [
            place.session(graph, captured=True) for graph in (_best_graph(), _largest_graph(self.largest))
        ]


class StepLogits(RemoteRows):
    """The logits of a step on the device, until the next step. What is asked of one row is computed for all."""

    def __init__(self, chooser: Chooser, rows: int, lock: Any) -> None:
        """Tell of the first ``rows``; ``lock`` is held while the device computes."""
        self._chooser = chooser
        self._rows = rows
        self._lock = lock
        self._whole: FloatArray | None = None
        self._best: FloatArray | None = None
        self._largest: tuple[Scores, FloatArray] | None = None

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
        return self.whole()

    def whole(self) -> FloatArray:
        """All of them [rows, V], brought down once."""
        if self._whole is None:
            with self._lock:
                self._whole = self._chooser.whole()[: self._rows]
        return self._whole

    def best(self) -> FloatArray:
        """See `Chooser.best`."""
        if self._best is None:
            with self._lock:
                self._best = self._chooser.best()
        return self._best

    def largest(self) -> tuple[Scores, FloatArray]:
        """See `Chooser.largest`."""
        if self._largest is None:
            with self._lock:
                self._largest = self._chooser.largest()
        return self._largest

    def are_finite(self, row: int) -> bool:
        """Whether no score of a row is NaN or +inf."""
        told = self.best()[row]
        return bool(told[_BEST] < np.inf) and int(told[_NUMBERS]) == self._chooser.vocab_size


class _StepRow(RemoteRow):
    """One row of them."""

    def __init__(self, step: StepLogits, row: int) -> None:
        self._step = step
        self._row = row

    def whole(self) -> FloatArray:
        row: FloatArray = self._step.whole()[self._row]
        return row

    def likeliest(self) -> int | None:
        told = self._step.best()[self._row]
        alone = int(told[_EQUAL]) == 1 and self._step.are_finite(self._row)
        return int(told[_TOKEN]) if alone else None

    def largest(self) -> tuple[Ids, Scores] | None:
        if not self._step.are_finite(self._row):
            return None
        scores, tokens = (told[self._row] for told in self._step.largest())
        ids = tokens.astype(np.int64)
        order = ids.argsort()
        return ids[order], scores[order]


def _best_graph() -> bytes:
    """(best score, its token, how many equal it, how many scores are numbers) of each row, as float32: all exact."""
    nodes = [
        Node("ReduceMax", ["logits", "last"], ["best"], {"keepdims": 1}),
        Node("ArgMax", ["logits"], ["token"], {"axis": -1, "keepdims": 1}),
        *_cast("token"),
        Node("Equal", ["logits", "best"], ["equal"]),
        *_counted("equal"),
        Node("Equal", ["logits", "logits"], ["number"]),  # NaN equals nothing
        *_counted("number"),
        Node("Concat", ["best", "token.float", "equal.count", "number.count"], ["told"], {"axis": -1}),
    ]
    return _looking(nodes, {"last": np.array([-1])})


def _largest_graph(count: int) -> bytes:
    """The highest scores of each row and their tokens, beside each other as float32: all exact."""
    nodes = [
        Node("TopK", ["logits", "count"], ["scores", "tokens"], {"axis": -1, "largest": 1, "sorted": 1}),
        *_cast("tokens"),
        Node("Concat", ["scores", "tokens.float"], ["told"], {"axis": -1}),
    ]
    return _looking(nodes, {"count": np.array([count])})


def _cast(name: str) -> list[Node]:
    return [Node("Cast", [name], [f"{name}.float"], {"to": _FLOAT})]


def _counted(name: str) -> list[Node]:
    summed = Node("ReduceSum", [f"{name}.float", "last"], [f"{name}.count"], {"keepdims": 1})
    return [*_cast(name), summed]


def _looking(nodes: Sequence[Node], constants: dict[str, Any]) -> bytes:
    shape = ["rows", "one", "vocab"]
    return write_model(
        nodes,
        [Value("logits", np.float32, shape)],
        [Value("told", np.float32, ["rows", "one", "width"])],
        constants,
    )
