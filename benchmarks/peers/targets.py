"""What ours is to reach beside named peers in the same run, and whether it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peers.summary import Figure, Figures

EIGHT_BITS = ("llama-Q8_0", "genai-int8")
"""Peers with eight bits and a divergence like that of our int8."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one measure of ours, as a ratio to the best of some configurations, or as it is."""

    ours: str
    measure: str
    bound: float
    aim: float | None = None
    against: Sequence[str] = ()
    """None: the bound is on the measure itself."""
    lower: bool = False
    """Whether less is better: the bound is the most then, else the least."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured."""

    target: Target
    found: float
    best: str
    """The configuration that ours is compared with."""

    @property
    def met(self) -> bool:
        """Within the bound."""
        return self._within(self.target.bound)

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None: there is none."""
        return None if self.target.aim is None else self._within(self.target.aim)

    def _within(self, bound: float) -> bool:
        return self.found <= bound if self.target.lower else self.found >= bound


def _speeds(
    ours: str, against: Sequence[str], bounds: Mapping[str, tuple[float, float | None]]
) -> list[Target]:
    return [Target(ours, measure, *bound, against=against) for measure, bound in bounds.items()]


def _most(ours: str, measure: str, bound: float, against: Sequence[str] = ()) -> Target:
    return Target(ours, measure, bound, against=against, lower=True)


_ANY_EIGHT = (*EIGHT_BITS, "openvino-int8")
_DECODE = ("decode 32", "decode 512", "decode 1500")


def _exact_eight(ours: str) -> list[Target]:
    """What a form of ours that diverges no more than 8-bit peers is to reach."""
    return [
        _most(ours, "kl", 0.005),
        *_speeds(ours, EIGHT_BITS, {"prefill 512": (1.25, None), "prefill 1500": (1.15, None)}),
        *_speeds(ours, EIGHT_BITS, {"8 rows": (1.2, None), "32 rows": (1.2, None)}),
        *_speeds(ours, EIGHT_BITS, dict.fromkeys(_DECODE, (1.0, 1.1))),
        _most(ours, "first token, text", 1.15, _ANY_EIGHT),
        _most(ours, "rss", 1.4, ("llama-Q8_0",)),
        _most(ours, "file", 157.1),
    ]


TARGETS = (
    *_exact_eight("ours-int8"),
    *_exact_eight("ours-w8a8"),
    *_speeds("ours-w8a8", _ANY_EIGHT, {"prefill 512": (0.7, 0.9), "prefill 1500": (0.65, 0.8)}),
    *_speeds("ours-w8a8", _ANY_EIGHT, {"8 rows": (0.95, 1.15), "32 rows": (0.75, 1.0)}),
    _most("ours-int4", "kl", 0.07),
    *_speeds("ours-int4", ("llama-Q4_K_M",), dict.fromkeys(_DECODE, (1.08, 1.15))),
    *_speeds("ours-int4", ("llama-Q4_K_M",), {"prefill 512": (1.25, None), "prefill 1500": (1.4, None)}),
    *_speeds("ours-int4", ("llama-Q4_K_M",), {"8 rows": (1.5, None), "32 rows": (1.4, None)}),
    *_speeds("ours-int8-kv8", ("ours-int8",), {"decode 4000": (1.1, None)}),
    *_speeds("ours-int8-kv8", ("ours-int8",), {"prefill 1500": (0.9, None), "prefill 4000": (0.9, None)}),
    _most("ours-int4", "first token, text", 1.15, ("llama-Q4_K_M", "genai-int4-kmix")),
    _most("ours-int8-kv8", "rss", 1.2, ("llama-Q8_0",)),
    _most("ours-none", "file", 540.4),
    _most("ours-int4", "file", 111.0),
)
"""File sizes are today's, in MB. Divergences are in nats, over both texts."""


def verdicts(found: Figures, targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """Every target whose measure was taken of ours and of at least one of the others."""
    judged = (_judge(target, found) for target in targets)
    return [verdict for verdict in judged if verdict is not None]


def _judge(target: Target, found: Figures) -> Verdict | None:
    ours = _median(found, target.ours, target.measure)
    others = {name: _median(found, name, target.measure) for name in target.against}
    known = {name: value for name, value in others.items() if value is not None}
    if ours is None or (target.against and not known):
        return None
    if not known:
        return Verdict(target, ours, "")
    best = (min if target.lower else max)(known, key=lambda name: known[name])
    return Verdict(target, ours / known[best], best)


def _median(found: Figures, configuration: str, measure: str) -> float | None:
    figure: Figure | None = found.get(configuration, {}).get(measure)
    return None if figure is None else figure.median
