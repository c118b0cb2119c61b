"""The parts of a dialogue: who speaks, and what one of them says."""

import re
from collections.abc import Sequence

from llmbuilder.writing.lengths import cut_at_last_sentence

SPEAKERS = ("Anna", "Ben")
SILENCE = "…"
"""What somebody says who says nothing."""
_NAMES = re.compile(r"\b[A-Z][\w-]+(?:, [A-Z][\w-]+)*,? and [A-Z][\w-]+")
_QUOTES = "\"'“”„‘’*_ "  # noqa: RUF001 (quotes of texts)
_MOST_WORDS = 60


def find_speakers(scene: str) -> tuple[str, ...]:
    """Names that a scene lists, such as "Tom, Lily and Max"; `SPEAKERS` if it lists none."""
    match = _NAMES.search(scene)
    names = re.findall(r"[A-Z][\w-]+", match[0]) if match else []
    return tuple(dict.fromkeys(names)) if len(set(names)) > 1 else SPEAKERS


def clean_turn(text: str, speakers: Sequence[str]) -> str:
    """What is said in a generated text: one line of whole sentences, without quotes or speakers' marks; may be empty.

    A turn that was cut off within its only sentence ends with an ellipsis.
    """
    marks = "|".join(map(re.escape, speakers))
    text = re.sub(rf"^\s*(?:{marks})\s*:", "", text)
    text = re.split(rf"\n|(?:^|\s)(?:{marks})\s*:", text.strip(), maxsplit=1)[0]
    text = " ".join(" ".join(text.split()[:_MOST_WORDS]).replace('"', "").split()).strip(_QUOTES)
    if not re.search(r"\w", text):
        return ""
    text = cut_at_last_sentence(text)
    return text if re.search(r"[.!?…]$", text.rstrip(_QUOTES)) else text.rstrip(",;:- ") + SILENCE
