"""Graphs: read beside onnx' own parser, and run if they pass the check."""

from pathlib import Path
from random import Random

from graph_readers import Pieces, difference
from onnx_writer import VOCAB, tiny_facts, tiny_model, tiny_weights
from wire import change, encode, parse

from fuzzing.changes import changed_bytes
from fuzzing.seeds import STORYTELLER
from fuzzing.targets import DifferenceError
from llmbuilder.bundle.graphcheck import check_content
from llmbuilder.bundle.graphproto import MODEL, read_model
from llmbuilder.bundle.operators import OPERATORS
from llmbuilder.bundle.protobuf import GraphError
from llmbuilder.engine.loading import Engine
from llmbuilder.engine.model import Model
from llmbuilder.engine.session import open_session
from llmbuilder.errors import BundleError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import ByteTokenizer

_STEPS = 4


class Graphs:
    """Pieces of real graphs, changed."""

    def __init__(self, folder: Path) -> None:
        """Take a large and a small graph apart."""
        self._pieces = Pieces((STORYTELLER / "model.onnx").read_bytes(), tiny_model(tiny_weights()))
        self._facts = tiny_facts()

    def make(self, random: Random) -> bytes:
        """The bytes of a file."""
        return self._pieces.changed(random)

    def run(self, made: bytes) -> None:
        """Read it with both readers, and check what ours has read."""
        found = difference(made)
        if found is not None:
            raise DifferenceError(found)
        try:
            read_model(made)
        except GraphError as error:
            raise BundleError(str(error)) from error
        check_content(made, Path("model.onnx"), self._facts, 100)


class GraphRuns:
    """A whole small model, changed, loaded without its manifest, and asked for a few tokens."""

    def __init__(self, folder: Path) -> None:
        """Write graphs to ``folder``."""
        self._path = folder / "model.onnx"
        self._trees = [parse(tiny_model(tiny_weights(), version=version), MODEL) for version in (1, 2)]
        self._facts = tiny_facts()
        self._names = sorted({name.encode() for _, name in OPERATORS})

    def make(self, random: Random) -> bytes:
        """The bytes of a graph: its fields changed, or one of its names or numbers exchanged for another."""
        tree = random.choice(self._trees)
        if random.random() < 0.2:
            return change(tree, random)
        content = encode(tree)
        for _ in range(random.choice((1, 1, 2, 3))):
            content = self._exchanged(content, random)
        return changed_bytes(content, random) if random.random() < 0.1 else content

    def _exchanged(self, content: bytes, random: Random) -> bytes:
        """Another name, operator or number of the same size, so that all lengths still fit."""
        graph = read_model_or_none(content)
        if graph is None:
            return content
        nodes = graph["graph"]["node"]
        words = [
            name.encode() for node in nodes for name in (*node.get("input", ()), *node.get("output", ()))
        ]
        words = random.choice((words, self._names, [bytes([number]) for number in range(12)]))
        one = random.choice(words)
        others = [word for word in words if len(word) == len(one) and word != one] or [one]
        start = random.choice(_places(content, one) or [0])
        return content[:start] + random.choice(others) + content[start + len(one) :] if start else content

    def run(self, made: bytes) -> None:
        """Check it; what passes must run, or fail with an error of ours."""
        if difference(made) is not None:
            raise DifferenceError("onnx reads it otherwise")
        check_content(made, self._path, self._facts, None)
        self._path.write_bytes(made)
        session = open_session(self._path, built_for="cpu", device="cpu", threads=1)
        engine = Engine(
            model=Model(session, self._facts),
            tokenizer=_Letters(),
            bos_token_id=None,
            eos_token_ids=(),
            defaults={},
        )
        with TextGenerator.from_engine(engine) as generator:
            found = generator.complete("some words", max_new_tokens=_STEPS, do_sample=False)
        if not all(0 <= token < VOCAB for token in found[0].token_ids):
            raise DifferenceError(f"tokens {found[0].token_ids}")


class _Letters(ByteTokenizer):
    """Every byte modulo the size of the vocabulary."""

    vocab_size = VOCAB

    def encode(self, text: str, parse_special: bool = True, *, add_special: bool = True) -> list[int]:
        """Bytes, folded."""
        return [byte % VOCAB for byte in text.encode()]

    def pieces(self) -> list[bytes]:
        """A byte each."""
        return [bytes([token]) for token in range(VOCAB)]


def read_model_or_none(content: bytes) -> dict | None:  # type: ignore[type-arg]
    """What our reader reads, if it does and there are nodes."""
    try:
        found = read_model(content)
    except GraphError:
        return None
    return found if found.get("graph", {}).get("node") else None


def _places(content: bytes, word: bytes) -> list[int]:
    found, at = [], content.find(word)
    while at >= 0:
        found.append(at)
        at = content.find(word, at + 1)
    return found
