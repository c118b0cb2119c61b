"""The script of a letter, from its Unicode name."""

import unicodedata

_NAMES = """
    arabic armenian bengali cjk cyrillic devanagari ethiopic georgian greek gujarati gurmukhi hangul hebrew hiragana
    kannada katakana khmer lao latin malayalam myanmar sinhala tamil telugu thai tibetan
"""
SCRIPTS = frozenset(_NAMES.split())
_FORMS = frozenset({"FULLWIDTH", "HALFWIDTH", "MATHEMATICAL"})


def script(letter: str) -> str:
    """The script of one letter in lower case, such as ``latin``; the first word of its Unicode name."""
    name = unicodedata.name(letter, "unknown").split()
    return next((word for word in name if word not in _FORMS), "unknown").lower()


def foreign_letters(text: str, allowed: frozenset[str]) -> tuple[list[str], int]:
    """Letters of other scripts, each once, and how often any occurs.

    Letters that belong to no script in particular, such as ª or µ, count as Latin or Greek by their look.
    """
    kinds: dict[str, int] = {}
    for character in text:
        if character.isalpha() and not _is_allowed(character, allowed):
            kinds[character] = kinds.get(character, 0) + 1
    return list(kinds), sum(kinds.values())


def _is_allowed(letter: str, allowed: frozenset[str]) -> bool:
    folded = unicodedata.normalize("NFKD", letter)[0]
    return script(letter) in allowed or script(folded) in allowed or not folded.isalpha()
