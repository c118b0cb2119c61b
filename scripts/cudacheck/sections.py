"""The sections by name, in the order of what matters most, each with its time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cudacheck.report import Section
from cudacheck.setup import Setup

Run = Callable[[Setup, Section], None]


@dataclass(frozen=True)
class Plan:
    """Where a section's function is, and the seconds it may take."""

    module: str
    function: str
    seconds: float

    def load(self) -> Run:
        """The function."""
        import importlib

        run: Run = getattr(importlib.import_module(f"cudacheck.{self.module}"), self.function)
        return run


SECTIONS: Mapping[str, Plan] = {
    "prepare": Plan("prepare", "run", 60),
    "texts": Plan("texts", "run", 40),
    "features": Plan("features", "run", 45),
    "invariance": Plan("invariance", "run", 70),
    "speed 135M": Plan("speed", "small", 45),
    "speed 1B": Plan("speed", "large", 50),
    "memory": Plan("memory", "run", 30),
    "decoders": Plan("pool", "run", 45),
    "commands": Plan("commands", "run", 40),
    "kernels": Plan("kernels", "run", 30),
    "transformers": Plan("peers", "run", 170),
}
