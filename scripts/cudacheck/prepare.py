"""The first section: what the machine is, and whole bundles of the shells."""

import json
import time

from cudacheck.filling import fill_shell
from cudacheck.report import Section
from cudacheck.setup import Setup
from cudacheck.shells import Recipe


def run(setup: Setup, section: Section) -> None:
    """Look at the machine, fill every shell, and load each bundle once, which checks its hashes."""
    with section.attempt("the machine"):
        section.measure("the machine", **setup.look_at())
    device = "cuda" if setup.on_card else "cpu"
    for shell in sorted(path.parent for path in setup.models.glob("*/recipe.json")):
        with section.attempt(f"fill {shell.name}"):
            start = time.perf_counter()
            bundle = fill_shell(shell, setup.work / shell.name, device)
            network = Recipe.read(shell).network
            (setup.work / f"{shell.name}.network.json").write_text(json.dumps(network), encoding="utf-8")
            filled = time.perf_counter() - start
            engine = setup.engine(bundle.name, device="cpu" if bundle.name == "demo-cpu" else None)
            loaded = time.perf_counter() - start - filled
            parameters = engine.model.facts.parameters
            section.check(
                f"fill {shell.name}",
                True,
                parameters=parameters,
                seconds_filled=filled,
                seconds_loaded=loaded,
            )
