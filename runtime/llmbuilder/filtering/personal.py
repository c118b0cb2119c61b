"""Personal data in a text, by its form: nothing is looked up, and names or street addresses are not found."""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class Found(NamedTuple):
    """A piece of personal data: what it is, and where in the text."""

    kind: str
    start: int
    end: int


_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_CARD = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_IP = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]\d)")
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:"
    r"(?:\+|00)\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # international
    r"|\(\d{2,5}\)[ .-]?\d{3,4}[ .-]?\d{3,4}"  # area code in brackets
    r"|\d{3}[.-]\d{3}[.-]\d{4}"  # North America
    r"|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"  # national, with the leading zero
    r")(?![\w-]|[.,]\d)"
)
_DIGITS_OF_PHONE = range(7, 16)  # E.164 allows 15


def find_personal(text: str) -> list[Found]:
    """E-mail addresses, card and account numbers, US social security numbers, IP addresses, phone numbers.

    Card and account numbers count only with a valid checksum (Luhn; ISO 7064 for IBAN). Pieces do not overlap: of two
    readings the one named first above counts.
    """
    taken = bytearray(len(text))
    found: list[Found] = []
    for kind, pattern, holds in _KINDS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if taken.find(1, start, end) < 0 and holds(match[0]):
                taken[start:end] = b"\1" * (end - start)
                found.append(Found(kind, start, end))
    return sorted(found, key=lambda each: each.start)


def mask_personal(text: str) -> str:
    """Replace every letter and digit of personal data by an asterisk."""
    masked, done = "", 0
    for _, start, end in find_personal(text):
        masked += text[done:start] + re.sub(r"\w", "*", text[start:end])
        done = end
    return masked + text[done:]


def _is_card(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812)."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    compact = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_phone(text: str) -> bool:
    return sum(map(str.isdigit, text)) in _DIGITS_OF_PHONE


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail address", _EMAIL, bool),
    ("account number", _IBAN, _is_iban),
    ("card number", _CARD, _is_card),
    ("social security number", _SSN, bool),
    ("IP address", _IP, _is_ip),
    ("phone number", _PHONE, _is_phone),
)
