"""Where an export runs: in this environment, or in the one that `llmb exporter install` has made for nothing else."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmbuilder.userdata import cache_directory

STDERR = 2
_READY = "llmbuilder-runtime.version"
_PATIENCE = 10.0
"""Seconds that an exporter which is told to stop may take to remove its temporary files."""


def exporter() -> list[str] | None:
    """The beginning of a command that runs a module of the exporter's environment; None if there is none."""
    if can_export():
        return [sys.executable]
    if is_installed() and Path(sys.prefix) != exporter_environment():
        # Isolated from the working directory and PYTHONPATH, which may have LLMBuilder's own package.
        return [str(python_of(exporter_environment())), "-I"]
    return None


def can_export() -> bool:
    """Whether the exporter and what it needs are installed in this environment."""
    return all(importlib.util.find_spec(name) for name in ("llmbuilder_export", "torch", "onnxscript"))


def exporter_environment() -> Path:
    """The folder of the exporter's own environment, in the user's cache directory."""
    return cache_directory() / "exporter"


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_installed() -> bool:
    """Whether the exporter has an environment of its own, of this very version and complete."""
    try:
        version = (exporter_environment() / _READY).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    from llmbuilder.distribution import installed_version

    return version == installed_version() and python_of(exporter_environment()).exists()


def mark_installed() -> None:
    """Remember that the environment is complete."""
    from llmbuilder.distribution import installed_version

    (exporter_environment() / _READY).write_text(installed_version(), encoding="utf-8")


def run(command: Sequence[str], stdout: int | None = None) -> int:
    """Run our own program to its end, for its exit code; whatever interrupts that ends it, in time to clean up."""
    with subprocess.Popen(command, stdout=stdout) as process:  # noqa: S603
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            raise
        finally:
            process.kill()  # nothing if it has ended
