"""A plot of throughput as SVG: groups of bars, one group for each number of clients."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_COLOURS = ("#2b6cb0", "#c05621", "#718096")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 360, 60, 50, 40


def plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tokens a second by number of clients, a colour for each server."""
    servers = list(dict.fromkeys(row["server"] for row in rows))
    counts = list(dict.fromkeys(row["clients"] for row in rows))
    rows = [row for row in rows if row["tokens/s"] > 0]  # a server that failed has no number
    most = max((row["tokens/s"] for row in rows), default=1)
    parts = [_text(_LEFT, 20, "Tokens a second by number of clients", "start")]
    for number, server in enumerate(servers):
        parts += [_bar(_LEFT + 190 * number, 30, 12, 12, number)]
        parts += [_text(_LEFT + 190 * number + 18, 41, server, "start")]
    group = (_WIDTH - _LEFT) / len(counts)
    for row in rows:
        place, number = counts.index(row["clients"]), servers.index(row["server"])
        width = 0.8 * group / len(servers)
        x = _LEFT + group * (place + 0.1) + width * number
        height = (_HEIGHT - _TOP - _BOTTOM - 20) * row["tokens/s"] / most
        y = _HEIGHT - _BOTTOM - height
        parts += [_bar(x, y, width * 0.9, height, number)]
        parts += [_text(x + width * 0.45, y - 4, f"{row['tokens/s']:.0f}", "middle")]
    for place, count in enumerate(counts):
        parts.append(_text(_LEFT + group * (place + 0.5), _HEIGHT - _BOTTOM + 20, str(count), "middle"))
    return "\n".join([_OPEN, *parts, "</svg>", ""])


_OPEN = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
    f'\n<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
)


def _bar(x: float, y: float, width: float, height: float, number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
