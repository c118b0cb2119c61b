"""Read protocol buffers strictly: what is read here, every other reader reads the same.

Readers differ in what they forgive: over-long numbers, tags beyond 32 bits, unknown or doubled fields. Nothing of that
is ever written, so all of it is refused (https://protobuf.dev/programming-guides/encoding/).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NoReturn, TypeAlias

Message: TypeAlias = dict[str, Any]
"""The fields that were there, by name; a list for each repeated one."""

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_MOST_FIELDS = 1_000_000
"""Fields of one file, those inside of others too; the graph of a model with a hundred layers has about 100,000."""


class GraphError(ValueError):
    """What a graph is or does that none may; the message goes on where the file's name ends."""


class Kind(Enum):
    """What a field holds."""

    INT64 = auto()
    COUNT = auto()
    """int32 or an enumeration, of which only values from 0 are used, to the largest that the field has."""
    FLOAT = auto()
    TEXT = auto()
    BYTES = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """A field that may occur: once at most, or any number of times if ``repeated``."""

    name: str
    kind: "Kind | Schema"
    repeated: bool = False
    most: int = 0x7FFFFFFF
    """The largest count; protobuf takes an enumeration's unknown value for an unknown field."""


Schema: TypeAlias = Mapping[int, Field]
"""The fields of a message by their numbers."""


def read(content: bytes, schema: Schema) -> Message:
    """Read a message with all that it holds.

    Raises:
        GraphError: the bytes are no such message, or not written as every writer writes it.
    """
    return _Reader(content).message(schema, 0, len(content))


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._fields = 0

    def message(self, schema: Schema, at: int, end: int) -> Message:
        message: Message = {}
        while at < end:
            at = self._field(schema, at, end, message)
        return message

    def _field(self, schema: Schema, at: int, end: int, message: Message) -> int:
        """Read one field into ``message``; return the position after it."""
        key, after = self._number(at, end, 0xFFFFFFFF)
        field = schema.get(key >> 3)
        if field is None:
            _damaged(f"an unknown field {key >> 3}", at)
        self._count(at)
        if field.repeated:
            values = message.setdefault(field.name, [])
        elif field.name in message:
            _damaged(f"a second {field.name}", at)
        wire = key & 7
        if field.repeated and wire == _BYTES and field.kind in (Kind.INT64, Kind.FLOAT):
            return self._packed(field, after, end, values)
        if wire != _wire(field.kind):
            _damaged(f"a {field.name} of wire type {wire}", at)
        value, after = self._value(field, after, end)
        if field.repeated:
            values.append(value)
        else:
            message[field.name] = value
        return after

    def _packed(self, field: Field, at: int, end: int, values: list[Any]) -> int:
        at, end = self._length(at, end)
        while at < end:
            self._count(at)
            value, at = self._value(field, at, end)
            values.append(value)
        return at

    def _value(self, field: Field, at: int, end: int) -> tuple[Any, int]:
        kind = field.kind
        if kind is Kind.INT64:
            number, after = self._number(at, end, 0xFFFFFFFFFFFFFFFF)
            return number - (number >> 63 << 64), after
        if kind is Kind.COUNT:
            return self._number(at, end, field.most)
        if kind is Kind.FLOAT:
            if at + 4 > end:
                _cut_short(at)
            return struct.unpack_from("<f", self._content, at)[0], at + 4
        at, end = self._length(at, end)
        if not isinstance(kind, Kind):
            return self.message(kind, at, end), end
        value = self._content[at:end]
        return (self._text(value, at) if kind is Kind.TEXT else value), end

    def _text(self, value: bytes, at: int) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            _damaged("a text that is not UTF-8", at)

    def _length(self, at: int, end: int) -> tuple[int, int]:
        """Where the bytes that a length at ``at`` announces begin and end."""
        size, at = self._number(at, end, 0x7FFFFFFF)
        if size > end - at:
            _cut_short(at)
        return at, at + size

    def _number(self, at: int, end: int, largest: int) -> tuple[int, int]:
        """Decode a base-128 varint in its shortest form; return it and the position after it."""
        if at < end and self._content[at] <= min(largest, 0x7F):  # as most are
            return self._content[at], at + 1
        value = shift = 0
        for position in range(at, min(at + 10, end)):
            byte = self._content[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > largest or (byte == 0 and shift):
                    _damaged("a number that is too large or too long", at)
                return value, position + 1
            shift += 7
        return _damaged("an unterminated number", at)

    def _count(self, at: int) -> None:
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            _damaged(f"more than {_MOST_FIELDS} fields", at)


def _wire(kind: Kind | Schema) -> int:
    if kind in (Kind.INT64, Kind.COUNT):
        return _VARINT
    return _FIXED32 if kind is Kind.FLOAT else _BYTES


def _damaged(what: str, at: int) -> NoReturn:
    raise GraphError(f"is damaged: {what} at byte {at}")


def _cut_short(at: int) -> NoReturn:
    raise GraphError(f"is cut short at byte {at}")
