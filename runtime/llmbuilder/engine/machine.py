"""What this machine's processor is."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "Model", "Hardware")
"""What x86 has, then boards with other processors."""


def processor_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor by its name, or what the system calls its kind."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = (values[name] for name in _NAMES if values.get(name))
    return next(known, platform.processor() or platform.machine() or "unknown")
