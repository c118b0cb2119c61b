"""What a section finds, kept after every check, so that whatever ends a section loses nothing."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmbuilder.cleanup import replace_file

JUDGED_CARD = "H200"
"""Targets are those of this card; on another they are only reported."""
_LONGEST = 600


class Section:
    """One section's checks, written to ``path`` after each of them."""

    def __init__(self, name: str, path: Path, *, seconds: float, card: str = "") -> None:
        """Begin, with so many seconds allowed, on the ``card`` of that name."""
        self.name = name
        self.card = card
        self._path = path
        self._start = time.monotonic()
        self._seconds = seconds
        self._checks: list[dict[str, Any]] = []
        self._left_out: list[dict[str, str]] = []
        self.finished = False

    @property
    def left(self) -> float:
        """Seconds until the section's limit."""
        return self._seconds - (time.monotonic() - self._start)

    def check(self, name: str, passed: bool | None, **measured: Any) -> None:
        """Note a check; ``passed`` None: only measured."""
        word = {True: "ok", False: "FAILED", None: "measured"}[passed]
        self._add({"name": name, "passed": passed, **measured}, word, measured)

    def measure(self, name: str, **measured: Any) -> None:
        """Note what was measured."""
        self.check(name, None, **measured)

    def target(
        self,
        name: str,
        value: float,
        *,
        least: float | None = None,
        most: float | None = None,
        **measured: Any,
    ) -> None:
        """Note what was measured beside its target, which is judged on one card alone."""
        met = (least is None or value >= least) and (most is None or value <= most)
        wanted = {"at_least": least} if most is None else {"at_most": most}
        judged = met if JUDGED_CARD in self.card else None
        measured = {"value": value, **wanted, "met": judged, **measured}
        self._add({"name": name, "passed": judged, **measured}, "target", measured)

    def leave_out(self, name: str, why: str) -> None:
        """Note what could not be checked."""
        self._left_out.append({"name": name, "why": why})
        self._print("not checked", name, why)
        self._write()

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A part of the section: what it raises is a failed check, and the rest goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (whatever it is, it is a result)
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error}"[:_LONGEST]
            self.check(name, False, error=text, where=f"{Path(where.filename).name}:{where.lineno}")

    def enough(self, name: str, seconds: float) -> bool:
        """Whether so many seconds are left; if not, note that ``name`` was left out."""
        if self.left >= seconds:
            return True
        self.leave_out(name, f"{self.left:.0f} s of the section are left, {seconds:.0f} are needed")
        return False

    def finish(self) -> None:
        """Note that everything was tried."""
        self.finished = True
        self._write()

    def _add(self, entry: dict[str, Any], word: str, measured: dict[str, Any]) -> None:
        self._checks.append(entry)
        self._print(
            word, entry["name"], " ".join(f"{key}={_short(value)}" for key, value in measured.items())
        )
        self._write()

    def _print(self, word: str, name: str, text: str) -> None:
        print(f"  [{self.name} {time.monotonic() - self._start:5.1f}] {word}: {name} {text}", flush=True)

    def _write(self) -> None:
        content = {
            "seconds": round(time.monotonic() - self._start, 1),
            "finished": self.finished,
            "checks": self._checks,
            "not_checked": self._left_out,
        }
        replace_file(self._path, json.dumps(content, default=str))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
