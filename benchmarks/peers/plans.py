"""What a run measures: the whole form and the quick one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each measurement."""

    name: str
    passes: int
    starts: int
    """Cold starts of each kind in a pass."""
    lengths: Mapping[int, int]
    """Tokens of one row's prompt, and runs after each in a pass."""
    rows: Mapping[int, int]
    """Rows, and runs with so many in a pass."""
    new: int
    """New tokens of a run."""
    configurations: Sequence[str] | None = field(default=None)
    """None: all."""

    @property
    def repeats(self) -> Mapping[str, int]:
        """How many processes a task takes in a pass, where it is not one."""
        return {"start": self.starts, "start_text": self.starts}


FULL = Plan(
    "peers", passes=3, starts=3, lengths={32: 3, 512: 2, 1500: 2, 4000: 1}, rows={8: 2, 32: 1}, new=64
)
QUICK = Plan(
    "peers-quick",
    passes=2,
    starts=2,
    lengths={32: 2, 512: 1, 1500: 1, 4000: 1},
    rows={8: 1, 32: 1},
    new=48,
    configurations=(
        *("ours-int8", "ours-w8a8", "ours-int4", "ours-int8-kv8"),
        *("llama-Q8_0", "llama-Q4_K_M", "genai-int8", "openvino-int8"),
    ),
)
TASKS = ("start", "start_text", "memory", "row", "rows")
"""In the order of a pass."""
