"""Text to token ids and back: SentencePiece models and ``tokenizer.json`` behind one protocol."""

import functools
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmbuilder.checks import check_text
from llmbuilder.errors import TokenizerError, translated
from llmbuilder.tokenizerfile.reading import check_tokenizer_json, read_size_checked

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Backend

_ORDINARY = re.compile(r"[\w\s]*|.")
"""Added tokens that are text nonetheless: words, runs of white space, single characters."""

_COPY = "Copy the file again, or export the model again."


class ControlToken(NamedTuple):
    """A control token that is spelled out in a text, from character ``start`` up to ``end``.

    Those that are not ``special`` belong to texts, as models write them: thinking marks, tool calls.
    """

    start: int
    end: int
    id: int
    special: bool = True


class Tokenizer(Protocol):
    """What the rest of the package needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of ids the tokenizer knows, special ones included."""
        ...

    @property
    def joins_bytes(self) -> bool:
        """Whether the text of some ids is what their `pieces` are together, whatever stands before."""
        ...

    def encode(self, text: str, parse_special: bool = True, *, add_special: bool = True) -> list[int]:
        """Token ids of ``text``.

        With ``parse_special`` the names of control tokens become those tokens, without they never do; with
        ``add_special`` as well, ids that the tokenizer's file puts around every text, such as BOS, are there too.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without control tokens; half characters become U+FFFD."""
        ...

    def pieces(self) -> list[bytes]:
        """The bytes of UTF-8 that each id [vocab_size] stands for inside a text; control tokens have none."""
        ...

    def find_control(self, text: str) -> list[ControlToken]:
        """The control tokens that ``encode`` would read out of ``text``, in order."""
        ...

    def name(self, token: int) -> str:
        """How the tokenizer's file spells an id, control tokens included."""
        ...

    def spelling(self, token: int) -> str:
        """The name of a control token that has no text; empty for all others."""
        ...


class SentencePieceTokenizer:
    """A SentencePiece ``*.model`` (Kudo and Richardson 2018)."""

    def __init__(self, path: Path) -> None:
        """Load the model file.

        Raises:
            TokenizerError: it is not one.
        """
        from sentencepiece import SentencePieceProcessor

        self._translated = translated(TokenizerError, f"{path} failed as a tokenizer", _COPY)
        content = read_size_checked(path)
        with translated(TokenizerError, f"{path} is not a readable SentencePiece model", _COPY):
            self._processor = SentencePieceProcessor(model_proto=content)
            self._vocab_size = int(self._processor.get_piece_size())

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return self._vocab_size

    @property
    def joins_bytes(self) -> bool:
        """No: spaces at the beginning of a text are dropped."""
        return False

    def encode(self, text: str, parse_special: bool = True, *, add_special: bool = True) -> list[int]:  # noqa: ARG002
        """Token ids; SentencePiece never turns text into control tokens and adds none: the options change nothing."""
        with self._translated:
            return list(self._processor.encode(check_text("The text", text)))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``; those beyond the vocabulary have none."""
        known = self._vocab_size
        with self._translated:
            return str(self._processor.decode([int(i) for i in ids if i < known]))

    def pieces(self) -> list[bytes]:
        """The bytes each id stands for; the unknown token's are those of the text that it decodes to."""
        with self._translated:
            return [self._piece(i) for i in range(self.vocab_size)]

    def _piece(self, token: int) -> bytes:
        if self._processor.is_control(token) or self._processor.is_unused(token):
            return b""
        if self._processor.is_unknown(token):
            return self.decode([token]).encode()
        return _spelled(self._processor.id_to_piece(token))

    def find_control(self, text: str) -> list[ControlToken]:  # noqa: ARG002 (of the protocol)
        """None: SentencePiece reads no control tokens out of a text."""
        return []

    def name(self, token: int) -> str:
        """The piece."""
        with self._translated:
            return str(self._processor.id_to_piece(token))

    def spelling(self, token: int) -> str:
        """The piece of a control token."""
        return self.name(token) if token < self.vocab_size and self._processor.is_control(token) else ""


class JsonTokenizer:
    """A ``tokenizer.json`` of the Hugging Face tokenizers library.

    Its control tokens are the special ones, and other added tokens that are no ordinary text.
    """

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            TokenizerError: it is not one, or has what `check_tokenizer_json` refuses.
        """
        self._translated = translated(TokenizerError, f"{path} failed as a tokenizer", _COPY)
        self._content = read_size_checked(path)
        highest = check_tokenizer_json(self._content, path)
        with translated(TokenizerError, f"{path} is not a readable tokenizer.json", _COPY):
            self._parsing = _backend(self._content)
        self._literal: Backend | None = None
        added = self._parsing.get_added_tokens_decoder()
        self._special = frozenset(i for i, token in added.items() if token.special)
        self._control = {
            i: token.content
            for i, token in added.items()
            if token.special or not _ORDINARY.fullmatch(token.content)
        }
        # Asked for at every prompt, and slow to list.
        self._vocab_size = 1 + max([highest, *added])
        self.joins_bytes = type(self._parsing.decoder).__name__ == "ByteLevel"
        self._bytes = functools.lru_cache(None)(self._bytes_of)

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included (the highest id plus one, where ids have gaps)."""
        return self._vocab_size

    def encode(self, text: str, parse_special: bool = True, *, add_special: bool = True) -> list[int]:
        """Token ids, with what the file's post-processor adds."""
        if not parse_special:
            return self._encode_literally(text)
        return list(self._encoded(self._parsing, text, add_special=add_special).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without special tokens."""
        with self._translated:
            if self.joins_bytes:
                return b"".join([self._bytes(i) for i in ids]).decode(errors="replace")
            return str(self._parsing.decode([int(i) for i in ids], skip_special_tokens=True))

    def pieces(self) -> list[bytes]:
        """The bytes each id stands for, by the file's own decoder: byte-level (GPT-2), or that of SentencePiece."""
        byte_level = '"ByteLevel"' in json.dumps(json.loads(self._parsing.to_str())["decoder"])
        added = self._parsing.get_added_tokens_decoder()
        found = [b""] * self.vocab_size
        for token, i in self._parsing.get_vocab(with_added_tokens=True).items():
            if i not in added:
                found[i] = _from_byte_level(token) if byte_level else _spelled(token)
            elif i not in self._special:
                found[i] = token.encode()
        return found

    def _bytes_of(self, token: int) -> bytes:
        """What a byte-level decoder makes of a token; a text is all of them, so the library is asked only once."""
        name = self._parsing.id_to_token(token)
        return b"" if name is None or token in self._special else _from_byte_level(name)

    def find_control(self, text: str) -> list[ControlToken]:
        """Where control tokens are spelled out, with the white space that some of them take in."""
        encoded = self._encoded(self._parsing, text)
        found = zip(encoded.offsets, encoded.ids, strict=True)
        return [
            ControlToken(start, end, i, i in self._special) for (start, end), i in found if i in self._control
        ]

    def name(self, token: int) -> str:
        """The token."""
        with self._translated:
            return str(self._parsing.id_to_token(token))

    def spelling(self, token: int) -> str:
        """The name of a special token; others that are added are text."""
        return self._control[token] if token in self._special else ""

    def _encoded(self, backend: "Backend", text: str, *, add_special: bool = False) -> "Encoding":
        with self._translated:
            return backend.encode(check_text("The text", text), add_special_tokens=add_special)

    def _without_control(self) -> "Backend":
        """The file loaded a second time so that control tokens are ordinary text; few generate so."""
        with self._translated:
            literal = _backend(self._content)
            literal.add_special_tokens(list(self._control.values()))
            literal.encode_special_tokens = True
            return literal

    def _encode_literally(self, text: str) -> list[int]:
        if self._literal is None:  # two threads may make it, each for itself
            self._literal = self._without_control()
        encoded = self._encoded(self._literal, text)
        if self._control.keys().isdisjoint(encoded.ids):
            return list(encoded.ids)
        # A Unigram model knows control tokens as words, too: they are taken apart.
        found = zip(encoded.offsets, encoded.ids, strict=True)
        names = [(at, i) for at, i in found if text[slice(*at)] == self._control.get(i)]
        cuts = [start + 1 for (start, end), _ in names if end - start > 1]
        if not cuts:
            return list(encoded.ids)
        parts = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
        return [i for part in parts for i in self._encode_literally(part)]


def _backend(content: bytes) -> "Backend":
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_buffer(content)
    backend.no_truncation()
    backend.no_padding()
    return backend


def _spelled(piece: str) -> bytes:
    """Bytes of a SentencePiece piece: ``\u2581`` is a space, ``<0xE2>`` a byte."""
    if re.fullmatch("<0x[0-9A-F]{2}>", piece):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("\u2581", " ").encode()


def _from_byte_level(token: str) -> bytes:
    """Bytes of a token that is spelled in GPT-2's alphabet of printable characters (Radford et al. 2019)."""
    alphabet = _byte_alphabet()
    return bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else token.encode()


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """Printable bytes of Latin-1 stand for themselves, the others, in order, for the characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def load_tokenizer(path: Path) -> Tokenizer:
    """Open a tokenizer file by its name.

    Raises:
        TokenizerError: no such file, an unknown kind, or unreadable.
    """
    if not path.is_file():
        raise TokenizerError(f"There is no tokenizer at {path}. {_COPY}")
    if path.suffix == ".model":
        return SentencePieceTokenizer(path)
    if path.suffix == ".json":
        return JsonTokenizer(path)
    raise TokenizerError(
        f"{path} is neither a SentencePiece *.model nor a tokenizer.json. Name one of these."
    )
