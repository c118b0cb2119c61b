"""Results as a picture: bars of every configuration, a panel for each measure. SVG, written without a library."""

from collections.abc import Iterator, Sequence
from html import escape

from peers.summary import Figure, Figures

PANELS = (
    "kl",
    "prefill 512",
    "prefill 1500",
    "decode 32",
    "decode 1500",
    "8 rows",
    "32 rows",
    "first token, text",
    "rss",
)
_COLUMNS = 3
_WIDTH, _LABELS, _BAR, _TOP = 380, 130, 16, 34
_OURS, _THEIRS = "#1f6fb2", "#b8bcc2"


def chart(found: Figures, panels: Sequence[str] = PANELS) -> str:
    """All panels that anything was measured of."""
    shown = [name for name in panels if any(name in of_one for of_one in found.values())]
    height = _TOP + _BAR * len(found) + 20
    lines = -(-len(shown) // _COLUMNS)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_COLUMNS * _WIDTH}" height="{max(lines, 1) * height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    parts = [head]
    for number, measure in enumerate(shown):
        x, y = number % _COLUMNS * _WIDTH, number // _COLUMNS * height
        parts.append(f'<g transform="translate({x} {y})">{"".join(_panel(measure, found))}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(measure: str, found: Figures) -> Iterator[str]:
    known = {name: of_one[measure] for name, of_one in found.items() if measure in of_one}
    greatest = max(figure.greatest for figure in known.values()) or 1.0
    scale = (_WIDTH - _LABELS - 60) / greatest
    yield f'<text x="{_LABELS}" y="20" font-weight="bold">{escape(measure)}</text>'
    for place, (name, figure) in enumerate(known.items()):
        yield _bar(name, figure, scale, _TOP + place * _BAR)


def _bar(name: str, figure: Figure, scale: float, y: int) -> str:
    color = _OURS if name.startswith("ours") else _THEIRS
    width, low, high = (
        round(_LABELS + scale * value) for value in (figure.median, figure.least, figure.greatest)
    )
    middle = y + 6
    return (
        f'<text x="{_LABELS - 6}" y="{y + 10}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LABELS}" y="{y}" width="{width - _LABELS}" height="{_BAR - 4}" fill="{color}"/>'
        f'<line x1="{low}" x2="{high}" y1="{middle}" y2="{middle}" stroke="black"/>'
        f'<text x="{high + 4}" y="{y + 10}">{figure.median:.3g}</text>'
    )
