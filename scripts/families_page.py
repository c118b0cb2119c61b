"""Write docs/families.md from what the proofs measured.

    python scripts/families_page.py

It reads ``benchmarks/results/proofs`` and knows nothing of its own; `make prove PART="families families-exact
families-quantized families-refused"` measures.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "proofs"
PAGE = ROOT / "docs" / "families.md"
PARTS = {
    "families": "graphs that the check lets in",
    "families-exact": "logits, and greedy tokens of transformers",
    "families-quantized": "divergence of quantized weights",
    "families-refused": "what is refused, and its reason",
}
MODES = ("int8", "int4", "w8a8")
NOTHING = "-"
Results = Mapping[str, Mapping[str, Any]]
"""The content of each part's file of results; parts without one are missing."""


def read_results() -> Results:
    """What has been measured."""
    files = {part: RESULTS / f"{part}.json" for part in PARTS}
    return {
        part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items() if file.exists()
    }


def page(results: Results) -> str:
    """The page, in Markdown."""
    measured = {part: _entries(results.get(part, {})) for part in PARTS}
    return "\n".join([*_head(results), *_exported(measured), *_refused(measured["families-refused"])]) + "\n"


def _entries(result: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What a part measured, by name, without its numbers of tests."""
    return {name: each for name, each in result.get("measured", {}).items() if isinstance(each, Mapping)}


def _head(results: Results) -> Iterator[str]:
    yield "# Families of models"
    yield ""
    yield "Tiny models of random weights, one for each causal language model of transformers and for variants of them"
    yield "(`family+variant`). Those that are exported give transformers' own greedy tokens, also past a full window,"
    yield "and rows of a ragged batch have the bits of single runs. `scripts/families_page.py` writes this page from"
    yield "what the proofs measured:"
    yield ""
    for part, what in PARTS.items():
        yield f"- `{part}`: {what}; {_when(results.get(part))}"


def _when(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not measured yet"
    counts = result["measured"]
    failed = (
        f"{counts['failed']} of {counts['tests']} failed"
        if not result["passed"]
        else f"{counts['tests']} passed"
    )
    return f"at {result['commit']} on {result['date']}, {failed}"


def _exported(measured: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    differences = _by_family(measured["families-exact"])
    graphs, divergences = measured["families"], measured["families-quantized"]
    names = sorted({*differences, *graphs, *(name.rpartition(" ")[0] for name in divergences)})
    yield ""
    yield "## Exported"
    yield ""
    yield "Logits differ from transformers' by at most so much, with any seed that was tried; predictions of quantized"
    yield "weights diverge by so many nats. The last column says whether there are bundles for cuda."
    yield ""
    yield f"| family | seeds | logits | {' | '.join(MODES)} | for cuda |"
    yield f"|---|---|---|{'---|' * len(MODES)}---|"
    for name in names:
        found = differences.get(name, [])
        kinds = [_number(divergences.get(f"{name} {mode}", {}).get("divergence")) for mode in MODES]
        exact = _number(max(found, default=None))
        yield f"| {name} | {len(found) or NOTHING} | {exact} | {' | '.join(kinds)} | {_cuda(graphs.get(name))} |"


def _by_family(entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, list[float]]:
    """The differences of each family, one for each seed: the number behind a name, none for the first."""
    found = defaultdict(list)
    for name, each in entries.items():
        family, _, seed = name.rpartition(" ")
        found[family if family and seed.isdigit() else name].append(each["difference"])
    return found


def _cuda(graph: Mapping[str, Any] | None) -> str:
    if graph is None:
        return NOTHING
    return "yes" if any(name.startswith("cuda") for name in graph["nodes"]) else "no"


def _number(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.1e}"


def _refused(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    refused = {name: each["refused"] for name, each in entries.items() if "refused" in each}
    yield ""
    yield "## Refused"
    yield ""
    yield "The beginning of what an export says."
    yield ""
    yield "| family | reason |"
    yield "|---|---|"
    for name, reason in sorted(refused.items()):
        yield f"| {name} | {reason.replace('|', '/')} |"


if __name__ == "__main__":
    PAGE.write_text(page(read_results()), encoding="utf-8")
