"""A comparison as one HTML file with plots, which loads nothing from anywhere."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from llmbuilder.quality.compare import Comparison, ComparisonResult

_WIDTH, _LEFT, _ROW, _MARGIN = 640, 40, 34, 24
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
td.config { text-align: left; font-family: ui-monospace, monospace } svg { width: 100%; height: auto }
svg text { font-size: 12px; fill: #555 } blockquote { white-space: pre-wrap; border-left: 3px solid #ccc;
margin: .5rem 0; padding-left: 1rem } .value { color: #777; font-size: 13px }
"""


def to_html(found: Comparison, prompt: str) -> str:
    """The whole document: table, verdicts, plots of quality and diversity, all samples."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Comparison of settings</title>",
        f"<style>{_STYLE}</style></head><body><h1>Comparison of settings</h1>",
        f"<p>Prompt:</p><blockquote>{escape(prompt)}</blockquote>",
        _table(found),
        "<ul>",
        *(f"<li>{escape(str(verdict))}</li>" for verdict in found.verdicts),
        "</ul>",
        "<h2>Quality</h2><p>Each sample, and the 95 % interval of the mean.</p>",
        _plot(found, [[sample.quality for sample in result.samples] for result in found], intervals=True),
        "<h2>Diversity</h2><p>Mean distance between samples of a configuration.</p>",
        _plot(found, [[result.avg_diversity] for result in found], intervals=False),
        "<h2>Samples</h2>",
        *_samples(found),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(found: Comparison) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("", "configuration", "quality", "spread", "diversity", "tokens/s")
    )
    rows = (
        f"<tr><td>{number}</td><td class='config'>{_options(result)}</td><td>{result.avg_quality:.3f}</td>"
        f"<td>{result.quality_spread:.3f}</td><td>{result.avg_diversity:.3f}</td>"
        f"<td>{result.tokens_per_second:.0f}</td></tr>"
        for number, result in enumerate(found, 1)
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _options(result: ComparisonResult) -> str:
    return escape(
        " ".join(f"{name}={value}" for name, value in result.config.options().items()) or "(defaults)"
    )


def _plot(found: Comparison, values: Sequence[Sequence[float]], *, intervals: bool) -> str:
    """A strip of dots for each configuration on an axis from 0 to 1, as SVG."""
    height = _MARGIN + _ROW * len(values) + _MARGIN
    lines = [f"<svg viewBox='0 0 {_WIDTH} {height}' role='img'>"]
    for tick in range(0, 11, 2):
        x = _x(tick / 10)
        lines.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{_MARGIN}' y2='{height - _MARGIN}' stroke='#ddd'/>"
        )
        lines.append(f"<text x='{x:.1f}' y='{height - 6}' text-anchor='middle'>{tick / 10:.1f}</text>")
    for row, (result, dots) in enumerate(zip(found, values, strict=True)):
        y = _MARGIN + _ROW * (row + 0.5)
        lines.append(f"<text x='8' y='{y + 4:.1f}'>{row + 1}</text>")
        lines += [
            f"<circle cx='{_x(v):.1f}' cy='{y:.1f}' r='5' fill='#3b6fb6' fill-opacity='.45'/>"
            for v in dots
            if not math.isnan(v)
        ]
        if intervals and not math.isnan(result.avg_quality):
            lines.append(_interval(result, y))
    return "\n".join([*lines, "</svg>"])


def _interval(result: ComparisonResult, y: float) -> str:
    low, high = (_x(bound) for bound in result.quality_interval)
    mean = _x(result.avg_quality)
    return (
        f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{y:.1f}' y2='{y:.1f}' stroke='#b2432f' stroke-width='3'/>"
        f"<line x1='{mean:.1f}' x2='{mean:.1f}' y1='{y - 9:.1f}' y2='{y + 9:.1f}' stroke='#b2432f' stroke-width='3'/>"
    )


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - 2 * _LEFT)


def _samples(found: Comparison) -> Iterator[str]:
    for number, result in enumerate(found, 1):
        yield f"<details><summary>{number}: {_options(result)}</summary>"
        for sample in result.samples:
            yield (
                f"<blockquote>{escape(sample.text)}</blockquote><p class='value'>quality {sample.quality:.3f}, "
                f"{len(sample.completion.token_ids)} tokens, ended by {sample.completion.finish_reason}</p>"
            )
        yield "</details>"
