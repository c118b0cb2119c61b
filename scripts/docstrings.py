"""Docstrings as Markdown."""

import inspect
import re
from collections.abc import Iterable, Sequence

_LISTS = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises"}
_LITERAL = re.compile(r"``(.+?)``")
_EXAMPLE = re.compile(r"^>>> (?:.|\n)*?(?=\n\n|\Z)", re.MULTILINE)
_TABLE = re.compile(r"^=+ +=+\n((?:.+\n)+)=+ +=+$", re.MULTILINE)
_DRAWING = re.compile(r"^::\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_SECTION = re.compile(r"^(\w+):\n((?:    .*(?:\n|$)|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"\n(?=\w+(?:, \w+)*: )")


def markdown(doc: str) -> str:
    """A docstring, its sections as lists."""
    doc = _LITERAL.sub(r"`\1`", doc)
    doc = _EXAMPLE.sub(lambda found: code(found[0].replace("  # doctest: +SKIP", "")), doc)
    doc = _TABLE.sub(lambda found: code(found[1].rstrip(), "text"), doc)
    doc = _DRAWING.sub(lambda found: code(inspect.cleandoc(found[1]), "text") + "\n\n", doc)
    text, *sections = _SECTION.split(doc)
    written = [text]
    for title, inside, after in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
        written += [_listed(title, inspect.cleandoc(inside)), after]
    return "\n\n".join(part.strip() for part in written if part.strip())


def first_sentence(doc: str) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.) ", " ".join(doc.partition("\n\n")[0].split()), maxsplit=1)[0]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    first, *lines = (f"| {' | '.join(map(_cell, line))} |" for line in (head, *rows))
    return "\n".join([first, f"|{'---|' * len(head)}", *lines])


def code(text: str, language: str = "python") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def _listed(title: str, inside: str) -> str:
    if title not in _LISTS:
        return f"**{title}**: {' '.join(inside.split())}"
    items = (" ".join(item.split()).partition(": ") for item in _ITEM.split(inside))
    lines = (f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {text}" for names, _, text in items)
    return f"**{_LISTS[title]}**\n\n" + "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
