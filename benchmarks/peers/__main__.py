"""Ours and every CPU peer on the same weights and prompts, interleaved, each in processes of its own.

Usage: make bench-peers [OPTIONS="--quick"], or PYTHONPATH=benchmarks .venv-dev/bin/python -m peers [--quick]
       [--only PEER ...] [--configurations NAME ...] [--prepare]; writes benchmarks/results/peers.json, .md and .svg
       (peers-quick with --quick)

Stopped, it goes on where it was when called again at the same commit; ``--anew`` forgets what was
measured, ``--report`` writes it as far as it has come.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import machine

from llmbuilder.engine.machine import processor_features
from peers import llama, ours, registry
from peers.cells import Cell, comparable, read, reference_state
from peers.chart import chart
from peers.environments import say
from peers.fidelity import fidelity
from peers.inputs import Inputs, read_inputs
from peers.pages import page
from peers.places import RESULTS, ROOT, RUNS, commit
from peers.plans import FULL, QUICK, Plan
from peers.protocol import LeftOutError
from peers.running import Contestant, Course, run
from peers.summary import Figures, constant, figures
from peers.targets import verdicts


def main() -> None:
    """Say in a line what cannot be done."""
    options = arguments()
    try:
        work(options, QUICK if options.quick else FULL)
    except LeftOutError as error:
        sys.exit(str(error))


def work(options: argparse.Namespace, plan: Plan) -> None:
    """Prepare, measure, report."""
    names = registry.chosen(options.only, options.configurations or plan.configurations or ())
    contestants, left_out = prepare(names, options.source)
    inputs = read_inputs(options.source)
    found = constants(contestants, inputs, options.source)
    if options.prepare:
        say(f"llama.cpp's server is {llama.install_server()}")
        return
    course = Course(plan, inputs.ids, inputs.text, path_of(plan), commit())
    if options.anew:
        course.path.unlink(missing_ok=True)
    cells = read(course.path) if options.report else run(course, contestants)
    write(plan, cells, found, left_out, options.results)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Measure ours beside every CPU peer.")
    parser.add_argument("--quick", action="store_true", help="fewer configurations and runs")
    parser.add_argument("--only", nargs="+", default=[], choices=list(registry.MODULES), help="these peers")
    parser.add_argument(
        "--configurations", nargs="+", default=[], metavar="NAME", help="these configurations"
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="install (llama.cpp's server too), convert and compare, but do not time",
    )
    parser.add_argument("--report", action="store_true", help="write what was measured so far")
    parser.add_argument("--anew", action="store_true", help="forget what was measured at this commit")
    parser.add_argument(
        "--source",
        type=Path,
        default=ROOT / "artifacts" / "smollm2",
        help="Hugging Face directory of SmolLM2",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if not (options.source / "config.json").exists():
        parser.error(f"there is no SmolLM2 in {options.source}: run `make smollm2`")
    return options


def path_of(plan: Plan) -> Path:
    """Where the cells of a run at this commit are kept."""
    return RUNS / f"{plan.name}-{commit()}.jsonl"


def prepare(names: Mapping[str, str], source: Path) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Configurations that can be had, and why others cannot."""
    ready, left_out = {}, {}
    for name, peer in names.items():
        try:
            ready[name] = contestant(name, peer, source)
        except LeftOutError as error:
            left_out[name] = str(error)
            say(f"{name} is left out: {error}")
    return ready, left_out


def contestant(name: str, peer: str, source: Path) -> Contestant:
    """Install and convert.

    Raises:
        LeftOutError: that cannot be done.
    """
    module = registry.peer(peer)
    python = module.install()
    return Contestant(name, peer, module, python, module.prepare(name, source.resolve()))


def constants(contestants: Mapping[str, Contestant], inputs: Inputs, source: Path) -> Figures:
    """Sizes and divergences."""
    reference = contestant(ours.REFERENCE, "ours", source)
    found: Figures = {}
    for name, one in contestants.items():
        found[name] = {"file": constant(one.megabytes)}
        near = fidelity(one, reference, inputs.windows)
        if near is not None:
            found[name] |= {"kl": constant(near.kl), "same": constant(near.same)}
    return found


def write(
    plan: Plan, cells: Sequence[Cell], found: Figures, left_out: Mapping[str, str], folder: Path
) -> None:
    """Write and print the results of the cells."""
    if not cells:
        raise LeftOutError(f"Nothing was measured at {commit()} yet: leave --report out.")
    good = comparable(cells)
    measured = figures(good, plan.new)
    merged = {name: of_one | measured.get(name, {}) for name, of_one in found.items()}
    judged = verdicts(merged)
    facts = facts_of(plan, cells, good) | {"left out": dict(left_out)}
    content = facts | {
        "figures": {
            name: {measure: figure._asdict() for measure, figure in of_one.items()}
            for name, of_one in merged.items()
        },
        "targets": [
            {"ours": v.target.ours, "measure": v.target.measure, "beside": v.best, "found": v.found}
            | {"bound": v.target.bound, "met": v.met, "aim": v.target.aim, "reached": v.reached}
            for v in judged
        ],
    }
    text = page(facts, merged, judged)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{plan.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / f"{plan.name}.md").write_text(text, encoding="utf-8")
    (folder / f"{plan.name}.svg").write_text(chart(merged), encoding="utf-8")
    print(text)


def facts_of(plan: Plan, cells: Sequence[Cell], good: Sequence[Cell]) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "commit": cells[0].commit,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": machine() | {"features": processor_features()},
        "state": reference_state(cells)._asdict(),
        "plan": {"passes": plan.passes, "new tokens": plan.new},
        "cells": len(cells),
        "used": len(good),
        "versions": {cell.job.configuration: cell.answers[0]["version"] for cell in good},
    }


if __name__ == "__main__":
    main()
