"""What a sentence looks like from outside: person, tense, punctuation, length. English only."""

import re

import numpy as np

from llmbuilder.arrays import DoubleArray
from llmbuilder.quality.text import words

_CLASSES = {
    name: frozenset(members.split())
    for name, members in {
        "I": "i me my mine myself",
        "we": "we us our ours ourselves let's",
        "you": "you your yours thou thee thy ye",
        "he": "he him his himself",
        "she": "she her hers herself",
        "they": "they them their theirs",
        "it": "it its itself",
        "pointing": "this that these those such",
        "the": "the",
        "a": "a an",
        "past": "was were had did",
        "present": "is are has do does am have",
        "modal": "will would shall should can could may might must",
        "joining": "but and so yet nor or for",
        "linking": "however therefore thus then now still again also too indeed hence",
        "asking": "what who why how where when which",
        "negative": "not no never none nothing neither",
        "number": "million billion percent hundred thousand one two three year years",
    }.items()
}
_REFERRING = _CLASSES["he"] | _CLASSES["she"] | _CLASSES["they"] | _CLASSES["it"]
_OPENINGS = (
    _CLASSES["joining"],
    _CLASSES["pointing"],
    _REFERRING,
    _CLASSES["I"],
    _CLASSES["we"],
    _CLASSES["linking"],
    _CLASSES["asking"],
    _CLASSES["the"] | _CLASSES["a"],
)
_QUOTES = re.compile(r'["“”]')


def surface(sentence: str) -> DoubleArray:
    """Features of a sentence, each about 0 to 2: [42].

    How often words of each closed class occur; length, punctuation and endings; the class of the first word.
    """
    spoken = words(sentence)
    count = max(len(spoken), 1)
    first = spoken[0] if spoken else ""
    return np.array(
        [
            *(min(sum(word in members for word in spoken), 2) / 2 for members in _CLASSES.values()),
            *_surface(sentence, spoken, count),
            *(first in opening for opening in _OPENINGS),
        ],
        np.float64,
    )


def _surface(sentence: str, said: list[str], count: int) -> list[float]:
    capitals = len(re.findall(r"(?<=\s)[A-Z]", sentence))
    return [
        np.log(count) / 2,
        "?" in sentence,
        "!" in sentence,
        sentence.endswith(("?", '?"', "?”")),
        _QUOTES.search(sentence) is not None,
        sentence[:1] in "\"“'‘",  # noqa: RUF001 (typographic marks)
        sentence.count('"') % 2 == 1 or sentence.count("“") != sentence.count("”"),
        ";" in sentence,
        "—" in sentence or "--" in sentence,
        any(character.isdigit() for character in sentence),
        3 * capitals / count,
        6 * sum(word.endswith("ed") for word in said) / count,
        6 * sum(word.endswith("ing") for word in said) / count,
        5 * sentence.count(",") / count,
        sum(map(len, said)) / count / 3,
        count <= 4,
    ]
