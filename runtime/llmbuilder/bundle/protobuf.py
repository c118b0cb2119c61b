"""Just enough of the protocol buffer wire format to look into a file that is not trusted yet.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

from llmbuilder.errors import BundleError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}

Value = int | memoryview


def parse(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (field number, value) for every field: whole numbers for varints, memoryviews for all others.

    Raises:
        BundleError: the bytes are no protocol buffer message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            number, at = _varint(message, at)
            yield field, number
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise BundleError(f"The graph is damaged: wire type {wire} at byte {at}. Export the model again.")
        if at + size > len(message):
            raise BundleError(f"The graph is cut short at byte {at}. Export or copy the bundle again.")
        yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Decode a base-128 varint; return it and the position after it."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BundleError(f"The graph is damaged: unterminated number at byte {at}. Export the model again.")
