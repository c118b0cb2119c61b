"""What all configurations are given: token ids, a text, and the windows of `benchmarks/quality.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from divergence import Windows, windows

from llmbuilder.tokenizer import load_tokenizer
from peers.places import DATA

_JUDGED = 1000
"""Tokens of each text on which divergence is measured."""
_LONGEST = 4200
"""Token ids of prompts; the texts are shorter and follow each other again."""
_WORDS = 25
"""Of the text before a first token: about as many tokens as the prompts of ids have."""


class Inputs(NamedTuple):
    """Made once for a run."""

    ids: Sequence[int]
    text: str
    windows: Mapping[str, Windows]


def read_inputs(source: Path) -> Inputs:
    """Encode the texts with the tokenizer of a Hugging Face directory."""
    encode = load_tokenizer(source / "tokenizer.json").encode
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DATA.glob("*.txt"))}
    encoded = {name: encode(text) for name, text in texts.items()}
    ids = [token for text in encoded.values() for token in text]
    return Inputs(
        ids=(ids * (_LONGEST // len(ids) + 1))[:_LONGEST],
        text=" ".join(next(iter(texts.values())).split()[:_WORDS]),
        windows={name: windows(text[:_JUDGED]) for name, text in encoded.items()},
    )
