"""Inputs of one target in a process of its own: ``python scripts/fuzz.py --worker TARGET FIRST LAST PLACE FOLDER``.

Before each input its number is written to ``PLACE``, and what came of those before it, so that whoever watches knows
with which one this process ended or hangs. What is found goes to standard output, a line of JSON each.
"""

import contextlib
import json
import os
import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzzing.targets import judge, make_target, seeded

_MEMORY = 12 << 30
OUTCOMES = ("accepted", "refused")
MARK = struct.Struct("<3Q")
"""What stands in the place: the number of the input, and how many before it came to each outcome."""


def work(name: str, first: int, last: int, place: Path, folder: Path) -> None:
    """Give a target its inputs from ``first`` up to ``last``."""
    _limit()
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", closefd=True)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)  # of libraries that print what they refuse
    target = make_target(name, folder)
    outcomes: Counter[str] = Counter()
    with place.open("r+b", buffering=0) as mark:
        for number in range(first, last):
            _mark(mark.fileno(), number, outcomes)
            outcome = judge(target, target.make(seeded(name, number)))
            outcomes[outcome] += outcome in OUTCOMES
            if outcome not in OUTCOMES:
                _say(output, {"number": number, "fault": outcome})
        _mark(mark.fileno(), last, outcomes)
    output.flush()
    os._exit(0)


def _mark(file: int, number: int, outcomes: Mapping[str, int]) -> None:
    os.pwrite(file, MARK.pack(number, *(outcomes[name] for name in OUTCOMES)), 0)


def _say(output: Any, what: dict[str, Any]) -> None:
    output.write(json.dumps(what) + "\n")
    output.flush()


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
