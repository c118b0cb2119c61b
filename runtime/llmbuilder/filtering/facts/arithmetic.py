"""Sums that are wrong."""
# ruff: noqa: RUF001 (the signs that texts use)

import operator
import re
from collections.abc import Callable, Iterator

from llmbuilder.filtering.facts.numbers import NUMBER, plain, value

_SIGNS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "plus": operator.add,
    "-": operator.sub,
    "−": operator.sub,
    "minus": operator.sub,
    "x": operator.mul,
    "*": operator.mul,
    "×": operator.mul,
    "times": operator.mul,
    "multiplied by": operator.mul,
    "/": operator.truediv,
    "÷": operator.truediv,
    "divided by": operator.truediv,
}
_PRODUCTS = (operator.mul, operator.truediv)
_SIGN = "|".join(rf"\s*{re.escape(s)}\s*" if not s.isalpha() or s == "x" else rf"\s+{s}\s+" for s in _SIGNS)
_EQUALS = r"(?:\s*=\s*|,?\s+(?:is|are|equals|equal|makes|make|gives)\s+(?:equal to\s+)?)"
_RESULT = rf"(?P<result>-?{NUMBER})(?!\s*[-+*/×÷=^]|\s+(?:plus|minus|times)\b|[\w%]|[.,]\d)"
_BEFORE = r"(?<![\w.,)^])(?<![-+*/×÷=] )(?<![-+*/×÷=])(?<!plus )(?<!minus )(?<!times )(?<!not )"

_SUM = re.compile(
    rf"{_BEFORE}(?P<sum>{NUMBER}(?:(?:{_SIGN}){NUMBER}){{1,9}}){_EQUALS}{_RESULT}", re.IGNORECASE
)
_TERM = re.compile(rf"({NUMBER})|({_SIGN})", re.IGNORECASE)

_SHARES = {
    "half": 1 / 2,
    "a third": 1 / 3,
    "one third": 1 / 3,
    "a quarter": 1 / 4,
    "one quarter": 1 / 4,
    "twice": 2.0,
}
_SHARE = re.compile(
    rf"{_BEFORE}(?P<share>{NUMBER}\s?(?:%|percent|per cent)|{'|'.join(_SHARES)})(?:\s+of)?\s+(?P<whole>{NUMBER})"
    rf"{_EQUALS}{_RESULT}",
    re.IGNORECASE,
)


def wrong_sums(text: str) -> Iterator[str]:
    """Sums, products and shares with a wrong result, such as "2 + 2 = 5" or "half of 50 is 20".

    A result may be rounded to the decimals it shows, at least one. "About", "roughly" or "not" before it says nothing
    that could be wrong.
    """
    for match in _SUM.finditer(text):
        yield from _wrong(match, _evaluate(match["sum"]))
    for match in _SHARE.finditer(text):
        yield from _wrong(match, _share(match["share"]) * value(match["whole"]))


def _wrong(match: re.Match[str], right: float | None) -> Iterator[str]:
    shown = match["result"]
    stated = -value(shown[1:]) if shown.startswith("-") else value(shown)
    decimals = len(shown.partition(".")[2])
    rounding = 0.5 * 10**-decimals if decimals else 0.0
    if right is not None and abs(stated - right) > rounding + 1e-9:
        yield f"wrong sum {match[0]!r}: it is {plain(right)}"


def _share(text: str) -> float:
    known = _SHARES.get(text.lower())
    number = re.match(NUMBER, text, re.IGNORECASE)
    return known if known is not None else value(number[0]) / 100 if number else 0.0


def _evaluate(text: str) -> float | None:
    """Products before sums, each from the left; None when dividing by zero."""
    terms: list[float] = []
    sign = operator.add
    for match in _TERM.finditer(text):
        if match[2] is not None:
            sign = _SIGNS[match[2].strip().lower()]
            continue
        number = value(match[1])
        if sign is operator.truediv and number == 0:
            return None
        if sign in _PRODUCTS:
            terms[-1] = sign(terms[-1], number)
        else:
            terms.append(sign(0, number))
    return sum(terms)
