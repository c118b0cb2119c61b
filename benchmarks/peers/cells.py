"""Finished measurements, kept as they come: a run that was stopped goes on where it was."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from peers.protocol import Answer
from peers.state import State, alike, usual


@dataclass(frozen=True, slots=True)
class Job:
    """One task of one configuration in one pass through all of them."""

    number: int
    """Of the pass, from 0."""
    task: str
    configuration: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a job, and the machine before and after it."""

    job: Job
    commit: str
    before: State
    after: State
    answers: Sequence[Answer]
    error: str = ""
    """What ended it, if it failed."""

    @property
    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {"before": self.before, "after": self.after})

    @classmethod
    def of(cls, line: str) -> Self:
        """From JSON."""
        facts = json.loads(line)
        states = {name: State(*facts[name]) for name in ("before", "after")}
        return cls(**facts | {"job": Job(**facts["job"])} | states)


def read(path: Path) -> list[Cell]:
    """All whole lines of a file; a last one without its end was being written when the run was stopped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Cell.of(line) for line in lines]


def append(path: Path, cell: Cell) -> None:
    """Add a cell to a file, after cutting off an unfinished line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(cell.line + "\n")


def jobs(configurations: Sequence[str], tasks: Sequence[str], passes: int) -> list[Job]:
    """Everything to do, in order: within a task all configurations take turns, every second pass backwards."""
    return [
        Job(number, task, configuration)
        for number in range(passes)
        for task in tasks
        for configuration in (configurations if number % 2 == 0 else list(reversed(configurations)))
    ]


def reference_state(cells: Iterable[Cell]) -> State:
    """The usual state of the machine in a run."""
    return usual(state for cell in cells for state in (cell.before, cell.after))


def comparable(cells: Sequence[Cell]) -> list[Cell]:
    """Those that were measured, in the usual state."""
    if not cells:
        return []
    state = reference_state(cells)
    return [
        cell for cell in cells if not cell.error and alike(cell.before, state) and alike(cell.after, state)
    ]


def missing(wanted: Sequence[Job], cells: Sequence[Cell]) -> list[Job]:
    """Jobs that no cell is of."""
    done = {cell.job for cell in cells}
    return [job for job in wanted if job not in done]


def disturbed(wanted: Sequence[Job], cells: Sequence[Cell]) -> list[Job]:
    """Jobs that ended only in another state of the machine than the usual one."""
    good = {cell.job for cell in comparable(cells)}
    failed = {cell.job for cell in cells if cell.error}
    return [job for job in wanted if job not in good | failed]
