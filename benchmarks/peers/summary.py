"""From finished cells to one figure with its spread for each configuration and measure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from peers.cells import Cell

MEGABYTE = 1e6


class Figure(NamedTuple):
    """Measurements of one thing."""

    median: float
    least: float
    greatest: float
    number: int
    """How many there are."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


Figures = dict[str, dict[str, Figure]]
"""By configuration and measure."""


def figures(cells: Iterable[Cell], new: int) -> Figures:
    """All that the cells say; ``new`` is the number of tokens of each run."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell in cells:
        for measure, value in _values(cell, new):
            values[cell.job.configuration, measure].append(value)
    found: Figures = defaultdict(dict)
    for (configuration, measure), measured in values.items():
        found[configuration][measure] = Figure.of(measured)
    return dict(found)


def constant(value: float) -> Figure:
    """What does not vary: the size of a file, a divergence."""
    return Figure.of([value])


def _values(cell: Cell, new: int) -> Iterator[tuple[str, float]]:
    for answer in cell.answers:
        match cell.job.task:
            case "start":
                yield "first token, ids", answer["seconds"]
            case "start_text":
                yield "first token, text", answer["seconds"]
            case "memory":
                yield from ((name, answer[name] / MEGABYTE) for name in ("rss", "private", "peak at load"))
            case "row":
                yield from _row(answer["runs"], new)
            case "rows":
                yield from _rows(answer["runs"], new)


def _row(runs: Mapping[str, Sequence[Sequence[float]]], new: int) -> Iterator[tuple[str, float]]:
    for length, measured in runs.items():
        for first, rest in measured:
            yield f"prefill {length}", int(length) / first
            yield f"decode {length}", (new - 1) / rest


def _rows(runs: Mapping[str, Sequence[Sequence[float]]], new: int) -> Iterator[tuple[str, float]]:
    for rows, measured in runs.items():
        for first, rest in measured:
            yield f"{rows} rows", int(rows) * (new - 1) / rest
            yield f"{rows} rows, whole", int(rows) * new / (first + rest)
