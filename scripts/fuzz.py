"""Give our code inputs that nobody would write: over a million where none needs a session, ten thousand elsewhere.

    python scripts/fuzz.py [--share=0.01] [--only=NAME ...] [--processes=2] [--results=FILE]
    python scripts/fuzz.py --show NAME NUMBER        what one input is, and what comes of it

ends with 0 if there was no crash, no hang (5 s), no error but ours, and nothing accepted that a reference reads
otherwise. Inputs follow from the target's name and their number, so every run has the same. What is found wrong is
printed and kept in ``.cache/fuzz``. Targets are in ``tests/fuzz``.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("fuzz", "export", "runtime")]
KEPT = ROOT / ".cache" / "fuzz"


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description="Give our code inputs that nobody would write.")
    parser.add_argument("--share", type=float, default=1.0, help="of the whole number of inputs")
    parser.add_argument("--only", nargs="+", help="names of targets")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, help="file for what was counted")
    parser.add_argument("--show", nargs=2, metavar=("NAME", "NUMBER"), help="one input, and what comes of it")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        from fuzzing.worker import work

        name, first, last, place, folder = options.worker
        work(name, int(first), int(last), Path(place), Path(folder))
    elif options.show:
        _show(options.show[0], int(options.show[1]))
    else:
        results = fuzz(options.share, options.only, options.processes)
        if options.results:
            options.results.write_text(json.dumps(results) + "\n", encoding="utf-8")
        sys.exit(bool(results["faults"]))


def fuzz(share: float, only: list[str] | None, processes: int) -> dict[str, Any]:
    """Run a share of all inputs; what was counted."""
    from fuzzing.targets import TARGETS
    from fuzzing.watch import Found, run_all

    counts = {name: math.ceil(TARGETS[name].inputs * share) for name in only or TARGETS}

    def report(name: str, found: Found) -> None:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.outcomes.items()))
        print(f"{name}: {counted}, {len(found.faults)} wrong, {found.seconds:.0f} s", flush=True)

    started = time.monotonic()
    found = run_all(counts, Path(__file__), processes, report)
    faults = [{"target": name, "number": number, "fault": what}
              for name, each in found.items() for number, what in sorted(each.faults.items())]  # fmt: skip
    for fault in faults:
        print(f"{fault['target']} {fault['number']}: {fault['fault']}", flush=True)
        _keep(fault)
    return {
        "inputs": sum(counts.values()),
        "light": sum(count for name, count in counts.items() if TARGETS[name].light),
        "targets": {
            name: {
                "inputs": counts[name],
                **{outcome: each.outcomes[outcome] for outcome in ("accepted", "refused")},
            }
            for name, each in found.items()
        },
        "crashes": _count(faults, "crash"),
        "hangs": _count(faults, "hang"),
        "foreign": _count(faults, "foreign"),
        "differs": _count(faults, "differs"),
        "faults": faults[:100],
        "seconds": round(time.monotonic() - started),
    }


def _count(faults: list[dict[str, Any]], kind: str) -> int:
    return sum(fault["fault"].startswith(kind) for fault in faults)


def _input(name: str, number: int, folder: Path) -> Any:
    from fuzzing.targets import make_target, seeded

    return make_target(name, folder).make(seeded(name, number))


def _keep(fault: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        made = _input(fault["target"], fault["number"], Path(folder))
    KEPT.mkdir(parents=True, exist_ok=True)
    content = made if isinstance(made, bytes) else repr(made).encode("utf-8", "backslashreplace")
    (KEPT / f"{fault['target']}-{fault['number']}").write_bytes(content)


def _show(name: str, number: int) -> None:
    from fuzzing.targets import make_target, seeded

    with TemporaryDirectory() as folder:
        target = make_target(name, Path(folder))
        made = target.make(seeded(name, number))
        text = repr(made)
        print(text if len(text) < 20_000 else f"{text[:20_000]} ...")
        sys.stdout.flush()
        target.run(made)
    print("accepted")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
