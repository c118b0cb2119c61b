"""What this machine computes with: its processor, and ONNX Runtime as it is installed. Asking loads nothing."""

import platform
from importlib import metadata
from pathlib import Path

BUILDS = ("onnxruntime", "onnxruntime-gpu")
"""The distributions that install ONNX Runtime, for CPUs and for CUDA."""

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "Model", "Hardware")
"""What x86 has, then boards with other processors."""


def runtime_builds() -> dict[str, str]:
    """Name and version of each build of ONNX Runtime that is installed; there should be one."""
    return {name: version for name in BUILDS if (version := _version(name)) is not None}


def processor_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor by its name, or what the system calls its kind."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = (values[name] for name in _NAMES if values.get(name))
    return next(known, platform.processor() or platform.machine() or "unknown")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
