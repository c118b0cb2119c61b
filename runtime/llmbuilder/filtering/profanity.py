"""Profane words, masked. The words and the reading of disguises are those of glin-profanity (MIT).

Its English list is about everything that is unfit for children. Words with an everyday or a clinical sense as well are
not masked, since a word list cannot tell which one is meant: a filter that blots out Moby Dick is switched off.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from llmbuilder.filtering.clock import Clock
from llmbuilder.filtering.pieces import pieces

if TYPE_CHECKING:
    from glin_profanity import Filter

_LONGEST_PIECE = 1000
_LONGEST_WORD = 100
_LONG_RUN = re.compile(rf"([^\W_]{{{_LONGEST_WORD + 1},}})")
_MARK = "\ue000"  # of the private use area: in no word

_EVERYDAY = """
    alabama hot pocket|alaskan pipeline|bareback|barenaked|bastinado|beaver cleaver|big black|bondage|bs|busty|butt|
    cock|cocks|coon|coons|cornhole|deep throat|dick|dingleberries|dingleberry|domination|ecchi|escort|fingering|
    frotting|fuck buttons|girl on|grope|guro|hard core|hardcore|hoe|honkey|hooker|hot carl|hot chick|how to kill|
    how to murder|huge fat|humping|jelly donut|kinky|lolita|lovemaking|make me come|mf|mr hands|negro|nude|nudity|
    octopussy|panties|panty|pegging|pissed|playboy|poof|rimming|sadism|santorum|scat|scissoring|shrimping|simp|skeet|
    smut|snatch|snowballing|spic|spunk|strappado|strip club|suck|sucks|swastika|swinger|s&m|tainted love|taste my|
    throating|tied up|tight white|tit|tongue in a|topless|tosser|tushy|twink|twinkie|undressing|voyeur|white power|
    wrapping men|xx|retarded|black cock|bullet vibe|ball kicking
"""
_CLINICAL = """
    anal|anus|clitoris|coprophilia|dendrophilia|ejaculation|erotic|eunuch|fecal|genitals|homoerotic|incest|intercourse|
    masturbate|missionary position|neonazi|nipple|nipples|nymphomania|orgasm|paedophile|pedophile|penis|pornography|
    rape|rapist|raping|rectum|semen|sex|sexy|sodomy|urophilia|vagina|vibrator|voyeur|vulva|wet dream|zoophilia
"""
_INFLECTED = """
    arseholes assholes bastards bitching bullshitting cunts dickhead dickheads faggots fucked fucker fuckers fucks
    motherfuckers motherfucking niggers prick pricks shits shitting sluts twats wanker wankers whore whores
"""


class Masked(NamedTuple):
    """A text without its profane words, and those words as they stood."""

    text: str
    words: tuple[str, ...]


def mask_profanity(text: str, clock: Clock | None = None) -> Masked:
    """Put an asterisk for each character of a profane word: ``shit`` and ``sh1t`` become ``****``.

    Whole words only, so that Scunthorpe, class and cocktail stay. Letters replaced by look-alikes or asterisks, spread
    by dots or spaces, or stretched are seen through. English only. It knows words, not insults: a cruel sentence
    without one passes. A text is read in pieces of some thousand characters, and what has a hundred letters and digits
    on end is no word.

    Raises:
        ConfigError: ``clock`` has no time left.
    """
    clock = clock or Clock(len(text))
    masked: list[str] = []
    words: list[str] = []
    for piece in pieces(text, _LONGEST_PIECE):
        for part in _LONG_RUN.split(piece):
            clock.left("profanity_filter")
            found = Masked(part, ()) if _is_no_word(part) else _mask(part)
            masked.append(found.text)
            words += found.words
    return Masked("".join(masked), tuple(words))


def _is_no_word(part: str) -> bool:
    return len(part) > _LONGEST_WORD and part.isalnum()


def _mask(text: str) -> Masked:
    parts = _matcher().check_profanity(text).get("processed_text", text).split(_MARK)
    kept = parts[0]
    words: list[str] = []
    for number, piece in enumerate(parts[1:], start=2):
        last = number == len(parts)
        end = len(text) - len(piece) if last else text.find(piece, len(kept) + 1)
        words.append(text[len(kept) : end])
        kept += re.sub(r"\S", "*", words[-1]) + piece
    return Masked(kept, tuple(words))


@cache
def _matcher() -> "Filter":
    from glin_profanity import Filter

    spared = [word.strip() for word in f"{_EVERYDAY}|{_CLINICAL}".split("|")]
    return Filter(
        {
            "languages": ["english"],
            "detect_leetspeak": True,
            "obfuscation": "standard",
            "custom_words": _INFLECTED.split(),
            "ignore_words": spared,
            "replace_with": _MARK,
        }
    )
