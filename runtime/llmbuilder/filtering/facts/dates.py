"""Days and times that do not exist, and ends before their beginnings."""

import calendar
import re
from collections.abc import Iterator

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTH = "|".join(_MONTHS)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_DATES = (
    re.compile(rf"\b{_DAY}(?: of)? (?P<month>{_MONTH})\b(?:,? {_YEAR}\b)?", re.IGNORECASE),
    re.compile(rf"\b(?P<month>{_MONTH}) {_DAY}(?!\d|:\d)\b(?:,? {_YEAR}\b)?", re.IGNORECASE),
)
_ISO = re.compile(r"(?<![\w-])(?P<year>[12]\d{3})-(?P<month>\d{2})-(?P<day>\d{2})(?![\w-])")
_TIME = re.compile(
    r"\b(?:at|by|until|till|from|since|before|after|around)\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?![\d:%])"
    r"|(?<![\d:])(?P<hour2>\d{1,2}):(?P<minute2>\d{2})\s?(?:[ap]\.?m\b|o'clock)",
    re.IGNORECASE,
)
_LIFE = re.compile(r"\((?:born )?(?P<start>[12]\d{3})\s?[-–—]\s?(?P<end>[12]\d{3})\)")  # noqa: RUF001 (dashes of texts)
_SPANS = tuple(
    re.compile(rf"\b(?:{start})\b[^.;!?]{{0,60}}?\b(?P<start>[12]\d{{3}})\b[^.;!?]{{0,80}}?\b(?:{end})\b"
               rf"[^.;!?]{{0,60}}?\b(?P<end>[12]\d{{3}})\b", re.IGNORECASE)
    for start, end in (
        ("born", "died|passed away"),
        ("began|begun|started", "ended|finished|was over"),
        ("founded|opened|established", "closed|dissolved|shut down"),
    )
)  # fmt: skip


def impossible_dates(text: str) -> Iterator[str]:
    """Days such as 30 February or 2023-13-05, times such as 25:61, and lives or events that end before they begin."""
    for match in (found for pattern in _DATES for found in pattern.finditer(text)):
        year = int(match["year"]) if match["year"] else 2000
        if not _is_day(year, _MONTHS[match["month"].lower()], int(match["day"])):
            yield f"there is no {match[0]}"
    for match in _ISO.finditer(text):
        if not _is_day(int(match["year"]), int(match["month"]), int(match["day"])):
            yield f"there is no {match[0]}"
    for match in _TIME.finditer(text):
        hour, minute = (int(match[part] or match[part + "2"]) for part in ("hour", "minute"))
        if hour > 24 or minute > 59:
            yield f"there is no time {match[0]!r}"
    yield from _ends_before_beginnings(text)


def _is_day(year: int, month: int, day: int) -> bool:
    """Without a given year, one with 29 February is passed."""
    return 1 <= month <= 12 and year >= 1 and 1 <= day <= calendar.monthrange(year, month)[1]


def _ends_before_beginnings(text: str) -> Iterator[str]:
    for match in (found for pattern in (_LIFE, *_SPANS) for found in pattern.finditer(text)):
        if int(match["end"]) < int(match["start"]):
            yield f"the end is before the beginning in {match[0]!r}"
