"""The models of tokenizers' files, and the tokens that are added to them."""

from collections.abc import Iterable, Mapping
from typing import Any

from llmbuilder.checks import shown
from llmbuilder.tokenizerfile.places import (
    LARGEST_ID,
    LONGEST_ADDITION,
    LONGEST_PIECE,
    a_list,
    a_number,
    a_text,
    an_object,
    refuse,
)

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_MOST_PIECES = LARGEST_ID + 1
_MOST_ADDED = 100_000
_MOST_ADDED_CHARACTERS = 1_000_000
_MOST_UNIGRAM_CHARACTERS = 8_000_000
"""Each takes some hundred bytes; the largest models have a quarter as many."""
_LONGEST_WORD = 1000
"""Characters of a word that WordPiece takes apart, in time that grows with their square; usual are 100."""


def check_model(value: Any, place: str) -> int:
    """Refuse a model with too many or too long pieces, or whose pieces do not fit together.

    Returns:
        The highest id of a piece, -1 if there is none.

    Raises:
        RefusedError: it has.
    """
    model = an_object(value, place)
    kind = model.get("type")  # missing in files of before 2020
    if kind is not None and kind not in _MODELS:
        refuse(place, f"has the unknown model {shown(kind)}")
    if isinstance(model.get("vocab"), list):
        _check_unigram(model["vocab"], f"{place}.vocab")
    else:
        _check_pieces(an_object(model.get("vocab"), f"{place}.vocab"), f"{place}.vocab")
    if model.get("dropout"):
        refuse(f"{place}.dropout", "leaves out merges at random")
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        a_text(model.get(key) or "", f"{place}.{key}", LONGEST_ADDITION)
    if "max_input_chars_per_word" in model:
        longest = f"{place}.max_input_chars_per_word"
        a_number(model["max_input_chars_per_word"], longest, _LONGEST_WORD)
    if "merges" in model:
        merges = a_list(model["merges"], f"{place}.merges", _MOST_PIECES)
        _check_merges(merges, model.get("continuing_subword_prefix") or "", f"{place}.merges")
    vocab = model["vocab"]
    return len(vocab) - 1 if isinstance(vocab, list) else max(vocab.values(), default=-1)


def _check_pieces(pieces: Mapping[str, Any], place: str) -> None:
    if len(pieces) > _MOST_PIECES:
        refuse(place, f"has {len(pieces)} pieces, more than {_MOST_PIECES},")
    if max(map(len, pieces), default=0) > LONGEST_PIECE:
        refuse(place, f"has a piece of more than {LONGEST_PIECE} characters")
    for number in pieces.values():
        if type(number) is not int or not 0 <= number <= LARGEST_ID:
            a_number(number, place, LARGEST_ID)


def _check_unigram(pieces: list[Any], place: str) -> None:
    characters = 0
    for entry in a_list(pieces, place, _MOST_PIECES):
        if not isinstance(entry, list) or len(entry) != 2:
            refuse(place, "has a piece without its score")
        characters += len(a_text(entry[0], place, LONGEST_PIECE).encode())
    if characters > _MOST_UNIGRAM_CHARACTERS:
        refuse(place, f"has pieces of {characters} bytes together, more than {_MOST_UNIGRAM_CHARACTERS},")


def _check_merges(merges: Iterable[Any], prefix: str, place: str) -> None:
    """Refuse what is no pair, and pairs whose second lacks the prefix that the library cuts off it."""
    for merge in merges:
        pair = merge.split(" ") if type(merge) is str else merge
        if type(pair) is not list or len(pair) != 2 or not type(pair[0]) is type(pair[1]) is str:
            refuse(place, f"has {shown(merge)}, no pair of pieces,")
        if not pair[1].startswith(prefix):
            refuse(place, f"has {shown(merge)}, whose second piece lacks {shown(prefix)},")


def check_added(value: Any, place: str) -> None:
    """Refuse too many, too long or wrongly numbered added tokens.

    Raises:
        RefusedError: they are.
    """
    characters = 0
    for token in a_list([] if value is None else value, place, _MOST_ADDED):
        inside = an_object(token, place)
        characters += len(a_text(inside.get("content"), place, LONGEST_PIECE))
        a_number(inside.get("id"), place, LARGEST_ID)
    if characters > _MOST_ADDED_CHARACTERS:
        refuse(place, f"has {characters} characters together, more than {_MOST_ADDED_CHARACTERS},")
