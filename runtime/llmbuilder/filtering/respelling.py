r"""Expressions of the standard library's `re`, written so that the module ``regex`` reads them the same.

Both read nearly the same language. Where they differ, ``regex`` knows more (``{e<=1}``, nested sets, ``\p{L}``), or
takes ``\w``, ``\s`` and ``\b`` from newer rules of Unicode. So a pattern is parsed as `re` does it, and what that
found is written out with nothing in it that can be read in two ways.
"""

import importlib
import re
from typing import Any

import regex

_parser = importlib.import_module("re._parser")  # not among the typed modules

_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
_REPEATS = {"MAX_REPEAT": "", "MIN_REPEAT": "?", "POSSESSIVE_REPEAT": "+"}
_AROUND = {("ASSERT", 1): "=", ("ASSERT", -1): "<=", ("ASSERT_NOT", 1): "!", ("ASSERT_NOT", -1): "<!"}
_PLACES = {"AT_BEGINNING": "^", "AT_END": "$", "AT_BEGINNING_STRING": r"\A", "AT_END_STRING": r"\Z"}
_CLASSES = {"DIGIT": r"\p{Nd}", "SPACE": r"\s\x1c-\x1f", "WORD": r"\p{L}\p{N}_"}
_NOT_IN_NOTHING = "" if re.search(r"\B", "") else r"(?!\A\Z)"
"""Before Python 3.14 an empty text has no place that is not the edge of a word."""
_ASCII_CLASSES = {"DIGIT": "0-9", "SPACE": r" \t-\r", "WORD": "a-zA-Z0-9_"}


def parse(pattern: str) -> Any:
    """Read a pattern as `re` does, upper and lower case alike.

    Raises:
        re.error: it is none.
        OverflowError, RecursionError, ValueError: numbers, depths or flags that `re` cannot have.
    """
    return _parser.parse(pattern, re.IGNORECASE)


def respell(parsed: Any) -> str:
    """Write what `parse` found for ``regex``, with ``VERSION0`` and the flags of `flags_of`.

    Raises:
        ValueError: a part has rules of its own for what is a letter, as in ``(?a:...)``, which ``regex`` cannot do.
    """
    return _Writer(ascii_only=bool(parsed.state.flags & re.ASCII)).sequence(parsed)


def flags_of(parsed: Any) -> int:
    """The flags of ``regex`` for the respelled form of a whole pattern."""
    flags = parsed.state.flags
    ascii_only = regex.ASCII if flags & re.ASCII else 0  # another number than that of `re`
    return int(flags & (re.IGNORECASE | re.MULTILINE | re.DOTALL)) | ascii_only


class _Writer:
    def __init__(self, *, ascii_only: bool) -> None:
        self._classes = _ASCII_CLASSES if ascii_only else _CLASSES

    def sequence(self, parsed: Any) -> str:
        return "".join(self._part(str(operation), argument) for operation, argument in parsed)

    def _part(self, name: str, argument: Any) -> str:
        if name in _REPEATS:
            least, most, inside = argument
            upto = "" if most is _parser.MAXREPEAT else most
            return f"(?:{self.sequence(inside)}){{{least},{upto}}}{_REPEATS[name]}"
        if name in ("ASSERT", "ASSERT_NOT"):
            return f"(?{_AROUND[name, argument[0]]}{self.sequence(argument[1])})"
        write = getattr(self, f"_{name.lower()}", None)
        if write is None:
            raise ValueError(f"{name.lower()} is not supported")
        return str(write(argument))

    def _literal(self, code: int) -> str:
        return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\U{code:08x}"

    def _not_literal(self, code: int) -> str:
        return f"[^{self._literal(code)}]"

    def _any(self, _: None) -> str:
        return "."

    def _failure(self, _: Any) -> str:
        return "(?!)"

    def _in(self, members: Any) -> str:
        negated = str(members[0][0]) == "NEGATE"
        inside = "|".join(self._member(str(kind), value) for kind, value in members[negated:])
        return f"(?:(?!{inside})(?s:.))" if negated else f"(?:{inside})"

    def _member(self, kind: str, value: Any) -> str:
        if kind == "RANGE":
            return f"[{self._literal(value[0])}-{self._literal(value[1])}]"
        return self._literal(value) if kind == "LITERAL" else self._category(str(value))

    def _category(self, name: str) -> str:
        *negated, kind = name.removeprefix("CATEGORY_").split("_")
        return f"(?-i:[{'^' if negated else ''}{self._classes[kind]}])"  # a mark, U+0345, is a letter in upper case

    def _at(self, where: Any) -> str:
        place = str(where)
        if place in _PLACES:
            return _PLACES[place]
        word = self._category("WORD")
        if place == "AT_BOUNDARY":
            return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
        return f"{_NOT_IN_NOTHING}(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"

    def _branch(self, argument: Any) -> str:
        return f"(?:{'|'.join(map(self.sequence, argument[1]))})"

    def _subpattern(self, argument: Any) -> str:
        group, added, removed, inside = argument
        if (added | removed) & (re.ASCII | re.UNICODE | re.LOCALE):
            raise ValueError("flags a, u and L can be set only for the whole pattern")
        if group is not None:
            return f"({self.sequence(inside)})"
        on, off = (
            "".join(letter for flag, letter in _FLAGS.items() if flags & flag) for flags in (added, removed)
        )
        return f"(?{on}{f'-{off}' if off else ''}:{self.sequence(inside)})"

    def _atomic_group(self, inside: Any) -> str:
        return f"(?>{self.sequence(inside)})"

    def _groupref(self, group: int) -> str:
        return f"\\g<{group}>"

    def _groupref_exists(self, argument: Any) -> str:
        group, then, otherwise = argument
        return f"(?({group}){self.sequence(then)}|{self.sequence(otherwise or ())})"
