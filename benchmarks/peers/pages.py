"""Results as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peers.summary import Figure, Figures
from peers.targets import Verdict

SPEEDS = (
    *("prefill 32", "prefill 512", "prefill 1500", "prefill 4000"),
    *("decode 32", "decode 512", "decode 1500", "decode 4000"),
    *("8 rows", "32 rows", "8 rows, whole", "32 rows, whole"),
)
"""Tokens a second."""
SIZES = ("file", "rss", "private", "peak at load")
"""MB."""
STARTS = ("first token, ids", "first token, text")
"""Seconds."""
_NOTES = """Medians (least - greatest), tokens a second, of the runs in the machine's usual state. Prefill: tokens of
the prompt by the time to the first token. Decode: one row, behind so many tokens, the first new token left out. Rows:
all rows together, after 32 tokens each; "whole" counts the computation of the prompts too. First token: seconds from
the start of the process, files in the page cache, after 32 given ids, without a tokenizer where the engine can be had
without one (llama.cpp always loads its vocabulary), and from a text to a text. File, RSS and private memory: MB, after
a prompt of 1,500 tokens, tokenizer loaded. KL: mean divergence from our float32 logits in nats, and share of equal
likeliest tokens, on the windows of `benchmarks/quality.py`.
"""


def page(facts: Mapping[str, Any], found: Figures, judged: Sequence[Verdict]) -> str:
    """The whole page: ``facts`` as written to JSON, and what was found."""
    machine, state = facts["machine"], facts["state"]
    about = (
        f"Commit {facts['commit']}, {facts['date']}; {machine['cpu']} ({', '.join(machine['features'])}), 2 threads; "
        f"the machine copies {state['bandwidth']} GB/s and multiplies at {state['rate']} GFLOP/s. "
        f"{facts['used']} of {facts['cells']} measurements were taken in that state, the others are left out."
    )
    versions = "; ".join(sorted(set(facts["versions"].values())))
    parts = [
        "# Beside CPU peers",
        about,
        versions + ".",
        _NOTES,
        table(found, ("kl", "same", *SIZES, *STARTS)),
        table(found, SPEEDS),
        "## Targets",
        targets(judged),
        *([left_out(facts["left out"])] if facts["left out"] else []),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(found: Figures, measures: Sequence[str]) -> str:
    """One line for each configuration; measures that nobody has are left out."""
    shown = [name for name in measures if any(name in of_one for of_one in found.values())]
    lines = [["configuration", *shown], ["---", *["--:"] * len(shown)]]
    lines += [[name, *(cell(of_one.get(measure)) for measure in shown)] for name, of_one in found.items()]
    return _lines(lines)


def cell(figure: Figure | None) -> str:
    """Median, and least and greatest where there are several."""
    if figure is None:
        return "-"
    if figure.number == 1 or figure.least == figure.greatest:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.least)} - {number(figure.greatest)})"


def number(value: float) -> str:
    """Three digits, or four places below a tenth."""
    return (
        f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.1 or value == 0 else f"{value:.4f}"
    )


def targets(judged: Iterable[Verdict]) -> str:
    """Each target with what was found, and whether that is enough."""
    lines = [
        ["ours", "measure", "beside", "found", "bound", "met", "aim"],
        ["---"] * 3 + ["--:"] * 2 + ["---"] * 2,
    ]
    for verdict in judged:
        target = verdict.target
        sign = "<=" if target.lower else ">="
        aim = "" if target.aim is None else f"{sign} {target.aim:g}: {_word(verdict.reached)}"
        lines.append(
            [
                *(target.ours, target.measure, verdict.best or "itself"),
                *(number(verdict.found), f"{sign} {target.bound:g}", _word(verdict.met), aim),
            ]
        )
    return _lines(lines)


def left_out(reasons: Mapping[str, str]) -> str:
    """What could not be had."""
    shown = (f"- {name}: {reason.strip().splitlines()[-1]}" for name, reason in reasons.items())
    return "## Left out\n\n" + "\n".join(shown)


def _word(met: bool | None) -> str:
    return "yes" if met else "**no**"


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
