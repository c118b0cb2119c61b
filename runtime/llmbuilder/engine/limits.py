"""CPUs and memory that this process may use, as the system and the control groups around it allow; what it has used."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from llmbuilder.errors import DeviceError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_ROOT = Path("/")
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the part of the use that can be taken back at once: names of cgroup v2 and v1."""
_NO_LIMIT = 1 << 60
"""Version 1 has no word for it and says the largest number of whole pages."""


def available_threads(root: Path = _ROOT) -> int:
    """CPUs this process may use: its affinity, capped by its control groups' quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota(group)) is not None]
    return max(1, min(cpus, *map(int, quotas))) if quotas else cpus


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that this process can still have without swapping or being killed; None where that is not known."""
    free = _fields(root / "proc/meminfo").get("MemAvailable:")
    rooms = [room for group in _groups(root, "memory") if (room := _room(group)) is not None]
    return min(([] if free is None else [1024 * free]) + rooms, default=None)


def peak_memory(root: Path = _ROOT) -> int | None:
    """Most bytes of memory that this process has had so far; None where that is not known."""
    peak = _fields(root / "proc/self/status").get("VmHWM:")
    if peak is not None:
        return 1024 * peak
    if resource is None:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def recent_memory() -> int | None:
    """`available_memory` as it was within the last second: asking takes as long as ten steps of a small model."""
    return _memory_in(int(time.monotonic()))


@lru_cache(1)
def _memory_in(_second: int) -> int | None:
    return available_memory()


@contextmanager
def within_memory(what: str, size: int, remedy: str) -> Iterator[None]:
    """Allocate ``size`` bytes for ``what``.

    Raises:
        DeviceError: the system does not give them; says how many, and the ``remedy``.
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        raise DeviceError(
            f"{what} needs {size} bytes of memory, which this machine does not give. {remedy}"
        ) from error


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control groups, v2 and v1, and of all groups around them."""
    base = root / "sys/fs/cgroup"
    places = {base: "", base / controller: ""}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places[base] = path
        elif controller in controllers.split(","):
            places[base / controller] = path
    for top, path in places.items():
        inside = top / path.lstrip("/")
        yield from (group for group in (inside, *inside.parents) if group.is_relative_to(top))


def _quota(group: Path) -> float | None:
    """CPUs granted by a control group, or None without a limit."""
    words = _text(group / "cpu.max").split() or [
        *_text(group / "cpu.cfs_quota_us").split(),
        *_text(group / "cpu.cfs_period_us").split(),
    ]
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _room(group: Path) -> int | None:
    """Bytes left to a control group, or None without a limit."""
    for limit, used, reclaimable in _MEMORY_FILES:
        most = _number(group / limit)
        if most is not None and most < _NO_LIMIT:
            free = _fields(group / "memory.stat").get(reclaimable, 0)
            return max(0, most - (_number(group / used) or 0) + free)
    return None


def _fields(path: Path) -> dict[str, int]:
    """Names and numbers of a file with a pair on each line."""
    pairs = (line.split()[:2] for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: Path) -> int | None:
    """The number that is all of a file."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    """Content of a file of the system, nothing where it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
