"""The post-processors of tokenizers' files, which put control tokens around a text."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmbuilder.tokenizerfile.components import Slot, plain
from llmbuilder.tokenizerfile.places import (
    LARGEST_ID,
    LONGEST_PIECE,
    a_list,
    a_number,
    a_text,
    an_object,
    refuse,
)

_MOST_TOKENS = 64
"""Around a text, and of one name."""


def _check_template(component: Mapping[str, Any], place: str) -> float:
    named = an_object(component.get("special_tokens"), f"{place}.special_tokens")
    for name in list(named)[:_MOST_TOKENS]:
        where = f"{place}.special_tokens"
        for each in a_list(an_object(named[name], where).get("ids"), f"{where}.ids", _MOST_TOKENS):
            a_number(each, f"{where}.ids", LARGEST_ID)
    if len(named) > _MOST_TOKENS:
        refuse(f"{place}.special_tokens", f"has {len(named)} names, more than {_MOST_TOKENS},")
    for kind, texts in (("single", "A"), ("pair", "AB")):
        _check_pieces(component.get(kind), f"{place}.{kind}", named, texts)
    return 1.0


def _check_pieces(value: Any, place: str, named: Mapping[str, Any], texts: str) -> None:
    found = []
    for piece in a_list(value, place, _MOST_TOKENS):
        (kind, inside), *others = an_object(piece, place).items() or [("", None)]
        name = an_object(inside, place).get("id")
        if others or kind not in ("Sequence", "SpecialToken") or not isinstance(name, str):
            refuse(place, "has what is neither a text nor a token")
        if kind == "Sequence":
            found.append(name)
        elif name not in named:
            refuse(place, "names a token that special_tokens lack")
    _check_texts(found, place, texts)


def _check_texts(found: Sequence[str], place: str, texts: str) -> None:
    if len(set(found)) < len(found) or set(found) - set(texts):
        refuse(place, f"repeats a text, or has others than {' and '.join(texts)},")


def _check_around(component: Mapping[str, Any], place: str) -> float:
    for key in ("sep", "cls"):
        token = a_list(component.get(key), f"{place}.{key}", 2)
        if len(token) < 2:
            refuse(f"{place}.{key}", "has no token with its id")
        a_text(token[0], f"{place}.{key}", LONGEST_PIECE)
        a_number(token[1], f"{place}.{key}", LARGEST_ID)
    return 1.0


POST_PROCESSORS = Slot(
    "processors",
    {
        "BertProcessing": _check_around,
        "ByteLevel": plain,
        "RobertaProcessing": _check_around,
        "TemplateProcessing": _check_template,
    },
    most_alike=4,
)
