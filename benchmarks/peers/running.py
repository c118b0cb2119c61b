"""Run workers: each task of each configuration in a process of its own, the configurations in turns."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path

from peers.cells import Cell, Job, append, disturbed, jobs, missing, read
from peers.environments import say
from peers.places import PYTHONPATH
from peers.plans import TASKS, Plan
from peers.protocol import Answer, Peer, Request
from peers.state import probe

LONGEST = 900
"""Seconds after which a worker is ended."""
_SAID = 1500
"""Last characters of what a failed worker said that are kept."""


class WorkerError(Exception):
    """A worker ended without an answer; what it said last."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A configuration that is ready to run."""

    name: str
    peer: str
    module: Peer
    python: Path
    model: Path

    @property
    def megabytes(self) -> float:
        """Size of graph and weights."""
        return sum(file.stat().st_size for file in self.module.files(self.model)) / 1e6


@dataclass(frozen=True, slots=True)
class Course:
    """What all contestants are given, and where results are kept."""

    plan: Plan
    ids: Sequence[int]
    text: str
    path: Path
    commit: str


def ask(contestant: Contestant, request: Request) -> Answer:
    """Run one worker; ``seconds`` of the answer are those from its start to the moment that it tells.

    Raises:
        WorkerError: it failed, or took too long.
    """
    command = [str(contestant.python), "-m", "peers.worker"]
    variables = {**environ, **contestant.module.variables(), "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "2"}
    content = json.dumps(request._asdict())
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, text=True, check=True, env=variables, timeout=LONGEST
        )
    except subprocess.CalledProcessError as error:
        raise WorkerError(error.stderr[-_SAID:]) from error
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"no answer within {LONGEST} seconds") from error
    answer: Answer = json.loads(done.stdout.splitlines()[-1])
    return answer | {"seconds": answer["at"] - begin} if "at" in answer else answer


def measure(course: Course, contestant: Contestant, job: Job) -> Cell:
    """Do a job, with the machine's state before and after."""
    request = Request(
        peer=contestant.peer,
        task=job.task,
        model=str(contestant.model),
        ids=course.ids,
        text=course.text,
        lengths={str(length): repeats for length, repeats in course.plan.lengths.items()},
        rows={str(rows): repeats for rows, repeats in course.plan.rows.items()},
        new=course.plan.new,
    )
    before, answers, error = probe(), [], ""
    try:
        answers = [ask(contestant, request) for _ in range(course.plan.repeats.get(job.task, 1))]
    except WorkerError as failure:
        error = str(failure)
        say(f"{contestant.name}, {job.task} failed: {error}")
    return Cell(job, course.commit, before, probe(), answers, error)


def run(course: Course, contestants: Mapping[str, Contestant]) -> list[Cell]:
    """Do what is missing, then once more what ended only in an unusual state of the machine."""
    wanted = jobs_of(course, contestants)
    _work(course, contestants, missing(wanted, read(course.path)))
    again = disturbed(wanted, read(course.path))
    if again:
        say(f"{len(again)} of {len(wanted)} were disturbed: once more")
    _work(course, contestants, again)
    return read(course.path)


def jobs_of(course: Course, contestants: Mapping[str, Contestant]) -> list[Job]:
    """Everything that the plan asks of them."""
    return jobs(list(contestants), TASKS, course.plan.passes)


def _work(course: Course, contestants: Mapping[str, Contestant], todo: Sequence[Job]) -> None:
    begin = time.monotonic()
    for number, job in enumerate(todo):
        left = (time.monotonic() - begin) / max(number, 1) * (len(todo) - number) / 60
        about = f", about {left:.0f} minutes left" if number else ""
        say(f"{number + 1} of {len(todo)}: pass {job.number + 1}, {job.task}, {job.configuration}{about}")
        append(course.path, measure(course, contestants[job.configuration], job))
