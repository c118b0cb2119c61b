"""Tokenizers' files: looked at by our check, and loaded by their libraries if they pass."""

import json
from pathlib import Path
from random import Random
from typing import Any

from wire import change, encode, parse

from fuzzing import seeds
from fuzzing.changes import changed_bytes, changed_value, odd_value, written
from fuzzing.targets import DifferenceError
from llmbuilder.bundle.protobuf import Field
from llmbuilder.tokenizer import load_tokenizer
from llmbuilder.tokenizerfile.reading import check_tokenizer_json

_PIECE = 1
_MODEL = {
    _PIECE: Field("pieces", {}, repeated=True),
    2: Field("trainer_spec", {}),
    3: Field("normalizer_spec", {}),
    5: Field("denormalizer_spec", {}),
}
_COMPONENTS: tuple[dict[str, Any], ...] = (
    *(
        {"type": name}
        for name in ("NFC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Fuse", "ByteFallback", "Digits")
    ),
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Strip", "content": "a", "start": 2, "stop": 1},
    {"type": "CTC", "pad_token": "", "word_delimiter_token": "a", "cleanup": True},
    {"type": "Punctuation", "behavior": "Isolated"},
    {"type": "CharDelimiterSplit", "delimiter": "a"},
    {"type": "FixedLength", "length": 0},
    {"type": "BPEDecoder", "suffix": ""},
    {"type": "WordPiece", "prefix": "", "cleanup": True},
    seeds.replacing("a", "aaaa"),
    seeds.replacing("", "b"),
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
    {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 1],
        "trim_offsets": True,
        "add_prefix_space": True,
    },
)
_REGEX_PARTS = ("a", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{1,9}", "[a-z]", "[^", "]", "\\s", "\\p{L}",
                "\\1", "^", "$", "(?=", "(?!", "(?i)", "&&", ".", "\\", "{", "\\x{41}", "\\b", "(?<=",
                "(?>", "++", " ")  # fmt: skip
_SLOTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders",
          "post_processor": "processors"}  # fmt: skip


def _make(random: Random, changes: int = 0) -> Any:
    """A changed tokenizer, or one with components put together at random."""
    parts = random.choice(seeds.tokenizers())
    kind = random.randrange(3)
    if kind == 0:
        slot = random.choice(list(_SLOTS))
        some = [_component(random) for _ in range(random.choice((1, 2, 3, 9)))]
        parts = parts | {slot: {"type": "Sequence", _SLOTS[slot]: some} if len(some) > 1 else some[0]}
    return parts if kind == 0 and random.random() < 0.7 else changed_value(parts, random, changes)


def _component(random: Random) -> dict[str, Any]:
    kind = random.random()
    if kind < 0.35:
        pattern = "".join(random.choices(_REGEX_PARTS, k=random.randrange(1, 7)))
        name = random.choice(("Replace", "Split"))
        return {
            "type": name,
            "pattern": {"Regex": pattern},
            "content": "xy",
            "behavior": "Isolated",
            "invert": False,
        }
    component = random.choice(_COMPONENTS)
    if kind > 0.85:
        component = component | {random.choice(list(component)): odd_value(random)}
    return component


class TokenizerBounds:
    """Files of the tokenizers library, looked at only."""

    def __init__(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, random: Random) -> bytes:
        """The bytes of a file."""
        return written(_make(random), random)

    def run(self, made: bytes) -> None:
        """Check it; what passes holds what `json` reads, each key once."""
        check_tokenizer_json(made, "tokenizer.json")
        json.loads(made, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DifferenceError("a key twice")
    return found


class TokenizerRuns:
    """Files of both libraries, loaded and used if they pass."""

    def __init__(self, folder: Path) -> None:
        """Keep files in ``folder``."""
        self._folder = folder
        tree = parse((seeds.STORYTELLER / "tokenizer.model").read_bytes(), _MODEL)
        self._pieces = tuple(node for node in tree if node.number == _PIECE)
        self._specs = tuple(node for node in tree if node.number != _PIECE)

    def make(self, random: Random) -> tuple[str, bytes]:
        """A file's name and its bytes."""
        if random.random() < 0.25:
            return "tokenizer.model", self._changed_model(random)
        parts = _make(random, changes=1)
        return "tokenizer.json", written(parts, random) if random.random() < 0.5 else _plain(parts)

    def _changed_model(self, random: Random) -> bytes:
        """Pieces, a few of them changed, and settings, often changed; now and then other bytes."""
        start = random.randrange(len(self._pieces) - 4)
        few = self._pieces[start : start + 4]
        others = self._pieces[:start] + self._pieces[start + 4 :]
        changed = change(few, random) if random.random() < 0.6 else encode(few)
        specs = change(self._specs, random) if random.random() < 0.6 else encode(self._specs)
        content = encode(others) + changed + specs
        return changed_bytes(content, random) if random.random() < 0.15 else content

    def run(self, made: tuple[str, bytes]) -> None:
        """Load it, take texts apart, put them together; ids must be those that the library alone gives."""
        name, content = made
        path = self._folder / name
        path.write_bytes(content)
        tokenizer = load_tokenizer(path)
        for text in seeds.TEXTS:
            ids = tokenizer.encode(text)
            if name == "tokenizer.json" and ids != _alone(content, text):
                raise DifferenceError(f"other ids for {text!r}")
            tokenizer.encode(text, parse_special=False)
            tokenizer.find_control(text)
            decoded = tokenizer.decode(ids)
            if len(decoded) > 1000 + 300 * len(text):
                raise DifferenceError(f"{len(text)} characters became {len(decoded)}")
        if len(tokenizer.pieces()) != tokenizer.vocab_size:
            raise DifferenceError("pieces are not as many as ids")


def _plain(parts: Any) -> bytes:
    try:
        return json.dumps(parts).encode()
    except ValueError:  # more digits than Python writes
        return b"{}"


def _alone(content: bytes, text: str) -> list[int]:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_buffer(content)
    backend.no_truncation()
    backend.no_padding()
    return list(backend.encode(text).ids)
