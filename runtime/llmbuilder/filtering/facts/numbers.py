"""Numbers in text, as digits or words, with patterns that find them."""

import re

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: number for number, word in enumerate(_UNITS)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}

_SPELLED = rf"(?:{'|'.join(_TENS)})[- ](?:{'|'.join(_UNITS[1:10])})|{'|'.join([*_TENS, *reversed(_UNITS)])}"
NUMBER = rf"(?:\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d{{1,12}}(?:\.\d{{1,9}})?|(?:{_SPELLED})(?: (?:{'|'.join(_SCALES)}))?)"
"""A number without sign: 12,000, 3.5, twelve, twenty-one, five hundred. For patterns that ignore case."""

_ANY = re.compile(rf"(?<![\w.]){NUMBER}(?![\w])", re.IGNORECASE)


def value(text: str) -> float:
    """The number that a match of `NUMBER` stands for."""
    text = text.lower().replace(",", "")
    if text[0].isdigit():
        return float(text)
    total = 0
    for word in re.split(r"[- ]", text):
        total = total * _SCALES[word] if word in _SCALES else total + _WORDS[word]
    return float(total)


def plain(number: float) -> str:
    """``4.0`` -> ``4``."""
    return f"{number:.10g}"


def in_digits(text: str) -> str:
    """The text with every number in plain digits: "Twelve of 1,000" -> "12 of 1000"."""
    return _ANY.sub(lambda match: plain(value(match[0])), text)
