"""A fake model and a byte tokenizer: whole generations in milliseconds, without ONNX Runtime.

For this project's own tests and for those of programs built on it.
"""

import re
import sys
from collections.abc import Callable, Sequence

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import LayerCache, ModelFacts
from llmbuilder.decoding.rows import Filling
from llmbuilder.engine.loading import Engine
from llmbuilder.tokenizer import ControlToken

NextLogits = Callable[[Sequence[int]], FloatArray]
"""From the ids of one row so far to the logits [V] of the next."""

BOS, EOS = 256, 257
BYTE_VOCAB = 258


class ByteTokenizer:
    """One id for each byte of UTF-8, then BOS (256) and EOS (257)."""

    vocab_size = BYTE_VOCAB
    joins_bytes = True

    def encode(self, text: str, parse_special: bool = True, *, add_special: bool = True) -> list[int]:  # noqa: ARG002
        """UTF-8 bytes; ``</s>`` is EOS when special tokens are parsed."""
        parts = text.split("</s>") if parse_special else [text]
        ids: list[int] = list(parts[0].encode())
        for part in parts[1:]:
            ids += [EOS, *part.encode()]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the bytes; BOS and EOS have none."""
        return bytes(i for i in ids if i < BOS).decode("utf-8", "replace")

    def pieces(self) -> list[bytes]:
        """Each byte, and nothing for BOS and EOS."""
        return [*(bytes([i]) for i in range(BOS)), b"", b""]

    def find_control(self, text: str) -> list[ControlToken]:
        """Every ``</s>``."""
        return [ControlToken(match.start(), match.end(), EOS) for match in re.finditer("</s>", text)]

    def name(self, token: int) -> str:
        """``<s>``, ``</s>`` or ``<0xFF>``."""
        return self.spelling(token) or f"<0x{token:02X}>"

    def spelling(self, token: int) -> str:
        """``<s>`` and ``</s>``; bytes are text."""
        return {BOS: "<s>", EOS: "</s>"}.get(token, "")


_CHUNK = 512


class FakeModel:
    """A model whose logits are a pure function of a row's ids. It counts what it is asked for.

    ``prefilled`` and ``steps`` count tokens computed in prompts and runs of one token a row; ``most_rows`` is the
    largest number of rows stepped at once. ``budget`` and ``border`` are those of its decoders.
    """

    def __init__(self, rule: NextLogits, *, vocab_size: int = BYTE_VOCAB, context_length: int = 64) -> None:
        """Answer with ``rule``."""
        self.rule = rule
        self.facts = ModelFacts(
            architecture="fake",
            vocab_size=vocab_size,
            context_length=context_length,
            hidden_size=1,
            num_attention_heads=1,
            parameters=1,
            layers=(LayerCache(heads=1, key_size=1, value_size=1),),
        )
        self.budget = sys.maxsize
        self.border = 1
        self.prefilled = 0
        self.steps = 0
        self.most_rows = 0

    def decoder(self, **room: int) -> "FakeDecoder":  # noqa: ARG002 (as a model's)
        """Start a computation."""
        return FakeDecoder(self)


class FakeDecoder:
    """Rows of ids, checked against the window as a real decoder's graph would."""

    def __init__(self, model: FakeModel) -> None:
        """Begin with no rows."""
        self.model = model
        self.rows: list[list[int]] = []

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return [len(row) for row in self.rows]

    @property
    def budget(self) -> int:
        """Most tokens that all rows together may hold."""
        return self.model.budget

    @property
    def prefill_chunk(self) -> int:
        """Most tokens of a prompt that are computed at once."""
        return _CHUNK

    @property
    def border(self) -> int:
        """Where a prompt may be cut."""
        return self.model.border

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        """Empty a row, to compute ids in it a chunk at a time."""
        self.truncate(row, 0)
        return Filling(self, row, ids)

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; logits [keep, V]."""
        self._reserve(row + 1)
        self.model.prefilled += len(ids)
        for token in ids:
            self._append(row, token)
        known = self.rows[row]
        return np.stack([self.model.rule(known[: len(known) - back]) for back in range(keep - 1, -1, -1)])

    def step(self, tokens: Sequence[int]) -> FloatArray:
        """Append one token to each of the first rows; logits [rows, V]."""
        self._reserve(len(tokens))
        self.model.steps += 1
        self.model.most_rows = max(self.model.most_rows, len(tokens))
        for row, token in enumerate(tokens):
            self._append(row, token)
        return np.stack([self.model.rule(self.rows[row]) for row in range(len(tokens))])

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on."""
        if row < len(self.rows):
            del self.rows[row][length:]

    def copy(self, source: int, target: int) -> None:
        """Make a row equal to another."""
        self._reserve(target + 1)
        self.rows[target] = list(self.rows[source])

    def save(self, row: int) -> list[int]:
        """Keep a row's ids."""
        return list(self.rows[row])

    def load(self, row: int, saved: Sequence[int], length: int) -> None:
        """Begin a row with the first ``length`` kept ids."""
        self._reserve(row + 1)
        self.rows[row] = list(saved[:length])

    def _reserve(self, rows: int) -> None:
        while len(self.rows) < rows:
            self.rows.append([])

    def _append(self, row: int, token: int) -> None:
        if not 0 <= token < self.model.facts.vocab_size:
            raise AssertionError(f"token {token} is outside the vocabulary")
        if len(self.rows[row]) >= self.model.facts.context_length:
            raise AssertionError(f"row {row} has left the window")
        self.rows[row].append(token)


def scripted(text: str, *, end: bool = True) -> NextLogits:
    """A rule that says ``text`` from wherever the row stands, then EOS (or starts over)."""
    script = [*text.encode(), *([EOS] if end else [])]

    def rule(ids: Sequence[int]) -> FloatArray:
        logits = np.full(BYTE_VOCAB, -20.0, np.float32)
        done = next((n for n in range(len(script), 0, -1) if list(ids[-n:]) == script[:n]), 0)
        logits[script[done % len(script)]] = 20.0
        return logits

    return rule


def random_rule(seed: int = 0, *, vocab_size: int = BYTE_VOCAB, scale: float = 3.0) -> NextLogits:
    """A rule with pseudo-random logits that depend on all ids of the row."""

    def rule(ids: Sequence[int]) -> FloatArray:
        generator = np.random.default_rng([seed, len(ids), *ids])
        return (scale * generator.standard_normal(vocab_size)).astype(np.float32)

    return rule


def fake_engine(rule: NextLogits, *, context_length: int = 64, chat_template: str | None = None) -> Engine:
    """An engine for `TextGenerator.from_engine` with a `FakeModel` and a `ByteTokenizer`."""
    return Engine(
        model=FakeModel(rule, context_length=context_length),
        tokenizer=ByteTokenizer(),
        bos_token_id=BOS,
        eos_token_ids=(EOS,),
        defaults={},
        chat_template=chat_template,
    )
