"""What this machine's processor is."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "Model", "Hardware")
"""What x86 has, then boards with other processors."""
_FEATURES = (
    "sse4_1", "avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
"""Of x86, then of ARM, as Linux calls them."""


def processor_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor by its name, or what the system calls its kind."""
    values = _values(cpuinfo)
    known = (values[name] for name in _NAMES if values.get(name))
    return next(known, platform.processor() or platform.machine() or "unknown")


def processor_features(cpuinfo: Path = _CPUINFO) -> list[str]:
    """Which of the instruction sets that ONNX Runtime's kernels choose by are there; empty where that is not known."""
    values = _values(cpuinfo)
    there = set((values.get("flags") or values.get("Features") or "").split())
    return [feature for feature in _FEATURES if feature in there]


def _values(cpuinfo: Path) -> dict[str, str]:
    """Names and values of the last processor; nothing where the system has no such file."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
