"""Changes of bytes, of JSON, and of safetensors files."""

import copy
import json
import struct
from random import Random
from typing import Any

ODD_TEXTS = (
    "", " ", "\0", "\n", "\x1b[2J", "\ud800", "\udfff", "\ufeff", "\u2028", "ﷺ", "🙂", "a" * 300, "../x", "/etc/passwd",
    "__proto__", "NaN", "1e999", "{{", "<|im_end|>", "</s>", "%s", "type", "\u202e",
)  # fmt: skip
ODD_NUMBERS = (
    0, 1, -1, 2, 255, 256, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 53, 1 << 63, 1 << 64, -(1 << 63), 10**300, 10**5000,
    0.0, -0.0, 0.5, 1.0, 1e-320, 1e-45, 1e38, 1e39, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip


def odd_value(random: Random, depth: int = 0) -> Any:
    """A value of JSON that few expect."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(ODD_NUMBERS)
    if kind < 5:
        return random.choice(ODD_TEXTS)
    if kind == 5 or depth > 2:
        return random.choice((None, True, False, [], {}))
    inside = [odd_value(random, depth + 1) for _ in range(random.randrange(3))]
    return inside if kind == 6 else {random.choice(ODD_TEXTS): value for value in inside}


def nested(random: Random) -> Any:
    """Lists or objects in each other, some few or very many times."""
    value: Any = 0
    for _ in range(random.choice((5, 20, 60, 100, 150))):
        value = [value] if random.random() < 0.5 else {"type": "Sequence", "normalizers": [value]}
    return value


def changed_value(value: Any, random: Random, times: int = 0) -> Any:
    """A copy of a value of JSON, changed in one to a few places."""
    changed = copy.deepcopy(value)
    for _ in range(times or random.choice((1, 1, 1, 2, 4))):
        changed = _changed_once(changed, random)
    return changed


def _changed_once(value: Any, random: Random) -> Any:
    if not isinstance(value, dict | list) or not value or random.random() < 0.02:
        return _replaced(value, random)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = random.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and random.random() < 0.85:
        value[key] = _changed_once(value[key], random)
        return value
    return _changed_entry(value, key, random)


def _changed_entry(value: Any, key: Any, random: Random) -> Any:
    kind = random.randrange(6)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[random.choice((*ODD_TEXTS, *value))] = value.pop(key)
    elif kind == 1:
        value.extend([value[key]] * random.choice((1, 2, 50)))
    elif kind == 2:
        other = random.choice(list(value.values()) if isinstance(value, dict) else value)
        value[key] = copy.deepcopy(other)
    else:
        value[key] = _replaced(value[key], random)
    return value


def _replaced(value: Any, random: Random) -> Any:
    kind = random.randrange(8)
    if kind == 0:
        return [value]
    if kind == 1:
        return repr(value)[:100] if isinstance(value, str | float | bool) else "1"
    if kind == 2 and isinstance(value, int | float) and abs(value) < 1e18:
        return value + random.choice((-1, 1, 0.5, 1 << 32))
    if kind == 3 and isinstance(value, str):
        at = random.randrange(len(value) + 1)
        return value[:at] + random.choice(ODD_TEXTS) + value[at:]
    return nested(random) if kind == 4 and random.random() < 0.2 else odd_value(random)


def written(value: Any, random: Random) -> bytes:
    """JSON of a value, now and then such as `json` does not write: with a key twice, or bytes changed."""
    text = _dumped(value, ascii_only=random.random() < 0.5)
    content = text.encode("utf-8", random.choice(("backslashreplace", "surrogatepass")))
    kind = random.random()
    if kind < 0.04:
        return content.replace(b'": ', b'": 1, "twin": 2, "twin": ', 1)
    if kind < 0.08 and b'{"' in content:
        first = content.split(b'{"', 1)[1].split(b'"', 1)[0]
        return content.replace(b'{"', b'{"' + first + b'": null, "', 1)
    return changed_bytes(content, random) if kind < 0.2 else content


def _dumped(value: Any, *, ascii_only: bool) -> str:
    try:
        return json.dumps(value, ensure_ascii=ascii_only)
    except ValueError:  # more digits than Python writes
        return "1" * 5000


def changed_bytes(content: bytes, random: Random) -> bytes:
    """Bytes with a few flipped, replaced, left out, doubled, moved or cut off."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        at = random.randrange(len(changed) + 1)
        kind = random.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = random.choice((0, 1, 0x22, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif kind == 2:
            del changed[at : at + random.choice((1, 2, 8))]
        elif kind == 3:
            changed[at:at] = random.randbytes(random.choice((1, 4, 9)))
        elif kind == 4:
            start = random.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + random.randrange(1, 40)]
        elif random.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def changed_safetensors(content: bytes, random: Random) -> bytes:
    """A file with what its header says of its weights changed, now and then also with a lie about the header."""
    size = struct.unpack_from("<Q", content)[0]
    try:
        changed = json.dumps(changed_value(json.loads(content[8 : 8 + size]), random)).encode()
    except ValueError:
        changed = b"{}"
    if random.random() < 0.3:
        changed = changed_bytes(changed, random)
    lie = random.choice((0, 0, 0, 1, 1 << 40, (1 << 63) + 5))
    return struct.pack("<Q", (len(changed) + lie) % (1 << 64)) + changed + content[8 + size :]
