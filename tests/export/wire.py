"""Protocol buffers as trees of fields, and mutations of them that readers may disagree about.

A message is a list of fields, so that it can be written in ways that no writer has: fields twice, in any order, with
tags and numbers of any length, cut off, or inside of groups.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeAlias

from llmbuilder.bundle.protobuf import Schema

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)


def varint(number: int, length: int = 0) -> bytes:
    """A base-128 number, of ``length`` bytes at least."""
    out = bytearray()
    while number > 0x7F or len(out) + 1 < length:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@dataclass(frozen=True)
class Node:
    """One field: its tag, and a number, bytes, or fields within it."""

    number: int
    wire: int
    value: "int | bytes | Tree"
    schema: Schema = field(default_factory=dict)
    """Of the fields within."""
    high: int = 0
    """Added to the tag above its 32 bits."""
    tag_length: int = 0
    value_length: int = 0
    """Fewest bytes of the number, or of the length."""
    lie: int = 0
    """How many bytes more than there are the length announces."""

    def encode(self) -> bytes:
        """The bytes of the field."""
        tag = varint(self.high << 32 | (self.number & 0x1FFFFFFF) << 3 | self.wire, self.tag_length)
        if isinstance(self.value, int):
            return tag + varint(self.value, self.value_length)
        content = self.value if isinstance(self.value, bytes) else encode(self.value)
        if self.wire == GROUP:
            return tag + content + varint(self.number << 3 | GROUP_END)
        if self.wire in (FIXED32, FIXED64):
            return tag + content
        return tag + varint(max(0, len(content) + self.lie), self.value_length) + content


Tree: TypeAlias = tuple[Node, ...]
Path: TypeAlias = tuple[int, ...]


def encode(tree: Tree) -> bytes:
    """The bytes of a message."""
    return b"".join(node.encode() for node in tree)


def parse(content: bytes, schema: Schema) -> Tree:
    """The fields of a message that a writer wrote: `encode` gives its bytes again."""
    return tuple(_fields(content, schema))


def _fields(content: bytes, schema: Schema) -> Iterator[Node]:
    at = 0
    while at < len(content):
        tag, at = _number(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _number(content, at)
            yield Node(number, wire, value)
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if size is None:
            size, at = _number(content, at)
        inner = content[at : at + size]
        kind = schema[number].kind if number in schema else None
        if isinstance(kind, Mapping):
            yield Node(number, wire, parse(inner, kind), kind)
        else:
            yield Node(number, wire, inner)
        at += size


def _number(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def change(tree: Tree, random: Random) -> bytes:
    """The bytes of a message of which a few fields were changed, and now and then a few bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        paths = list(_paths(tree))
        if paths:
            tree = _at(tree, random.choice(paths), random)
    content = bytearray(encode(tree))
    if content and random.random() < 0.15:
        for _ in range(random.choice((1, 2))):
            content[random.randrange(len(content))] = random.randrange(256)
    if content and random.random() < 0.05:
        del content[random.randrange(len(content)) :]
    return bytes(content)


def _paths(tree: Tree) -> Iterator[Path]:
    for place, node in enumerate(tree):
        yield (place,)
        if isinstance(node.value, tuple):
            yield from ((place, *path) for path in _paths(node.value))


def _at(tree: Tree, path: Path, random: Random) -> Tree:
    """The tree with the field at ``path`` changed."""
    place, *rest = path
    node = tree[place]
    if rest and isinstance(node.value, tuple):
        changed: Tree = (replace(node, value=_at(node.value, tuple(rest), random)),)
    else:
        changed = random.choice(_MUTATIONS)(node, tree, random)
    return tree[:place] + changed + tree[place + 1 :]


def _odd_number(node: Node, _: Tree, random: Random) -> Tree:
    """A number around the bounds of 31, 32, 63 and 64 bits, or beyond, or in more bytes than it needs."""
    bits = random.choice((0, 7, 14, 31, 32, 35, 63, 64, 70))
    number = max(0, (1 << bits) + random.randint(-3, 3))
    return (replace(node, wire=VARINT, value=number, value_length=random.choice((0, 0, 0, 2, 5, 10, 11))),)


def _odd_tag(node: Node, _: Tree, random: Random) -> Tree:
    """A tag of more than 32 bits, in more bytes than it needs, or of another field."""
    if random.random() < 0.5:
        return (replace(node, number=random.choice((0, *range(1, 26), 1 << 28, (1 << 29) - 1))),)
    return (replace(node, high=random.choice((0, 1, 7, 1 << 31)), tag_length=random.choice((0, 2, 5, 6))),)


def _odd_length(node: Node, _: Tree, random: Random) -> Tree:
    """A length that says more or less than there is, or says it in more bytes than it needs."""
    lie = random.choice((0, -1, 1, 5, 1 << 31, 1 << 32, (1 << 63) - 8))
    return (replace(node, lie=lie, value_length=random.choice((0, 2, 5, 6, 10))),)


def _odd_type(node: Node, _: Tree, random: Random) -> Tree:
    """The same content as a number, of fixed size, in a group, or without any."""
    content = node.value if isinstance(node.value, bytes) else node.encode()
    wires: dict[int, int | bytes] = {
        VARINT: len(content), BYTES: content, FIXED32: content[:4].ljust(4, b"\0"),
        FIXED64: content[:8].ljust(8, b"\0"), GROUP_END: b"",
    }  # fmt: skip
    wire = random.choice((*wires, GROUP))
    return (replace(node, wire=wire, value=wires.get(wire, content)),)


def _grouped(node: Node, _: Tree, random: Random) -> Tree:
    """The field inside of a group, of a known or an unknown field."""
    return (Node(random.choice((node.number, 15, 1000)), GROUP, (node,)),)


def _twice(node: Node, tree: Tree, random: Random) -> Tree:
    return (node, random.choice((node, *tree)))


def _elsewhere(node: Node, tree: Tree, random: Random) -> Tree:
    """Behind another field of its message, or with that one's content."""
    other = random.choice(tree)
    return random.choice(((other, node), (replace(node, value=other.value, wire=other.wire),)))


def _without(_: Node, __: Tree, ___: Random) -> Tree:
    return ()


def _packed(node: Node, _: Tree, random: Random) -> Tree:
    """Numbers as one field."""
    numbers = [node.value] if isinstance(node.value, int) else [random.randrange(1 << 40)]
    return (replace(node, wire=BYTES, value=b"".join(map(varint, numbers * random.randint(0, 3)))),)


def _odd_bytes(node: Node, _: Tree, random: Random) -> Tree:
    """Bytes that are no text, or that begin like a message."""
    odd = (
        b"",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
        b"a\0b",
        "é\u2028".encode(),
    )
    return (replace(node, wire=BYTES, value=random.choice(odd)),)


_MUTATIONS: tuple[Callable[[Node, Tree, Random], Tree], ...] = (
    _odd_number, _odd_tag, _odd_length, _odd_type, _grouped, _twice, _elsewhere, _without, _packed, _odd_bytes,
)  # fmt: skip
