"""Processes that fuzz, and what is done with one that ends or hangs: its input is a fault, and another goes on."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzzing.targets import TARGETS
from fuzzing.worker import MARK, OUTCOMES

_HANG = 5.0
"""Seconds that a process may compute for one input."""
_STUCK = 600.0
"""Seconds that it may take for one in all, and to begin."""
_LOOK = 0.25
_CHUNK = 10_000


@dataclass
class Found:
    """What came of the inputs of a target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


def run_all(
    counts: dict[str, int], script: Path, processes: int, report: Callable[[str, Found], None]
) -> dict[str, Found]:
    """Give each target its number of inputs; ``report`` hears of each chunk of them."""
    found = {name: Found() for name in counts}
    chunks = [(name, first, min(first + _size(name), most)) for name, most in counts.items()
              for first in range(0, most, _size(name))]  # fmt: skip
    with ThreadPoolExecutor(processes) as pool:
        for name, part in pool.map(lambda chunk: (chunk[0], _run_chunk(script, *chunk)), chunks):
            whole = found[name]
            whole.outcomes += part.outcomes
            whole.faults |= part.faults
            whole.seconds += part.seconds
            report(name, whole)
    return found


def _size(name: str) -> int:
    return _CHUNK if TARGETS[name].light else 500


def _run_chunk(script: Path, name: str, first: int, last: int) -> Found:
    found = Found()
    started = time.monotonic()
    while first < last:
        with TemporaryDirectory(prefix="fuzz") as folder:
            first = _run_process(script, name, (first, last), Path(folder), found)
    found.seconds = time.monotonic() - started
    return found


def _run_process(script: Path, name: str, numbers: tuple[int, int], folder: Path, found: Found) -> int:
    """Run inputs until they are done, or one ends or hangs the process; return the number to go on with."""
    first, last = numbers
    place, output = folder / "place", folder / "output"
    place.touch()
    words = [
        sys.executable,
        str(script),
        "--worker",
        name,
        str(first),
        str(last),
        str(place),
        str(folder / "files"),
    ]
    with output.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, env=os.environ | {"XDG_CACHE_HOME": str(folder)})
    why = _watch(process, place)
    _take(output, found)
    mark = place.read_bytes()
    counts: tuple[int, int, int] = MARK.unpack(mark) if mark else (first, 0, 0)
    at = counts[0]
    found.outcomes.update(dict(zip(OUTCOMES, counts[1:], strict=True)))
    if why is None:
        return last
    if TARGETS[name].contained and mark:
        found.outcomes["refused"] += 1
    else:
        found.faults[at] = why
    return at + 1


def _watch(process: subprocess.Popen[bytes], place: Path) -> str | None:
    """Wait; None if the process has ended well, else what is wrong."""
    at, computed, since = b"", 0.0, time.monotonic()
    while True:
        try:
            code = process.wait(_LOOK)
        except subprocess.TimeoutExpired:
            now, used = place.read_bytes(), _computed(process.pid)
            if now != at:
                at, computed, since = now, used, time.monotonic()
            elif (at and used - computed > _HANG) or time.monotonic() - since > _STUCK:
                process.kill()
                process.wait()
                return f"hang: over {_HANG:g} s"
        else:
            return None if code == 0 else f"crash: the process ended with {code}"


def _computed(pid: int) -> float:
    """Seconds that a process has computed, since a machine with more to do makes no hang. Not on Linux: time."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _take(output: Path, found: Found) -> None:
    for said in _lines(output):
        found.faults[said["number"]] = said["fault"]


def _lines(output: Path) -> Iterator[dict]:  # type: ignore[type-arg]
    for line in output.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
