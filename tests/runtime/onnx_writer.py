"""Just enough of ONNX's protocol buffers to write graphs without the onnx package.

Field numbers are those of onnx.proto3. `tiny_model` is a whole transformer with the inputs and outputs of a bundle's
graph.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from llmbuilder.bundle.manifest import LayerCache, ModelFacts

FLOAT, INT32, INT64 = 1, 6, 7
_TENSOR_TYPES = {"float32": FLOAT, "int64": INT64}

VOCAB, WINDOW, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 40, 96, 2, 1, 8, 2
HIDDEN = HEADS * HEAD_DIM
HEADS_OF_LOGITS = {1: ("num_logits_to_keep", np.array(1)), 2: ("logits_start", np.array([-1]))}
"""Name and default of the input that says which logits are wanted, by the format's version."""


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes | str) -> bytes:
    content = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(content)) + content


def model(*graph_fields: bytes) -> bytes:
    """ModelProto with a graph of these fields, importing opset 20 and Microsoft's operators."""
    opsets = message(8, number(2, 20)), message(8, message(1, "com.microsoft"), number(2, 1))
    return number(1, 8) + b"".join(opsets) + message(7, *graph_fields)


def node(op: str, inputs: str, outputs: str, domain: str = "", **attributes: int) -> bytes:
    """One node of a graph; inputs and outputs are names with spaces between them."""
    return message(
        1,
        *(message(1, name) for name in inputs.split()),
        *(message(2, name) for name in outputs.split()),
        message(4, op),
        *(
            message(5, message(1, name), number(3, value), number(20, 2))
            for name, value in attributes.items()
        ),
        message(7, domain),
    )


def initializer(name: str, value: npt.NDArray[np.generic]) -> bytes:
    dims = (number(1, size) for size in value.shape)
    return message(
        5, *dims, number(2, _TENSOR_TYPES[str(value.dtype)]), message(8, name), message(9, value.tobytes())
    )


def value_info(field: int, name: str, kind: int, *shape: int | str) -> bytes:
    """An input (field 11) or output (field 12) of a graph."""
    dims = (message(1, number(1, size) if isinstance(size, int) else message(2, size)) for size in shape)
    return message(field, message(1, name), message(2, message(1, number(1, kind), message(2, *dims))))


def tiny_weights() -> dict[str, npt.NDArray[np.generic]]:
    """Weights of a model of `LAYERS` attention layers with learned positions."""
    random = np.random.default_rng(0)
    shapes = {"embedding": (VOCAB, HIDDEN), "positions": (WINDOW, HIDDEN), "head": (HIDDEN, VOCAB)}
    for layer in range(LAYERS):
        shapes |= {f"q{layer}": (HIDDEN, HIDDEN), f"o{layer}": (HIDDEN, HIDDEN)}
        shapes |= {f"{kind}{layer}": (HIDDEN, KV_HEADS * HEAD_DIM) for kind in "kv"}
    return {name: random.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}


def tiny_facts() -> ModelFacts:
    """What a manifest says of the tiny model."""
    return ModelFacts(
        architecture="tiny",
        vocab_size=VOCAB,
        context_length=WINDOW,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        parameters=sum(weight.size for weight in tiny_weights().values()),
        layers=(LayerCache(heads=KV_HEADS, key_size=HEAD_DIM, value_size=HEAD_DIM),) * LAYERS,
    )


def tiny_model(
    weights: Mapping[str, npt.NDArray[np.generic]],
    leave_out: str = "",
    *,
    version: int = 2,
    for_device: bool = False,
) -> bytes:
    """The graph of a tiny transformer as a format has it, without the input or output named ``leave_out``.

    One made ``for_device`` has the lengths of rows from their positions, and of the mask only the width.
    """
    integers = {"one": np.array(1), "ones": np.array([1]), "end": np.array([2**31]), "last": np.array([-1])}
    integers |= {"end_of_row": np.array(-1)}
    fields = [
        *(initializer(name, value) for name, value in (weights | integers).items()),
        *_lengths(for_device=for_device),
        *_nodes(version),
        *(field for name, field in _interface(version).items() if name != leave_out),
    ]
    head, default = HEADS_OF_LOGITS[version]
    if leave_out != head:
        fields.append(initializer(head, default))
    return model(*fields)


def tiny_logits(weights: Mapping[str, npt.NDArray[np.generic]], ids: list[int]) -> npt.NDArray[np.float64]:
    """What the tiny model computes, written plainly: logits [tokens, VOCAB] of one sequence."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = w["embedding"][ids] + w["positions"][: len(ids)]
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(LAYERS):
        key, value = x @ w[f"k{layer}"], x @ w[f"v{layer}"]
        heads = []
        for query in np.split(x @ w[f"q{layer}"], HEADS, axis=1):
            scores = query @ key.T / np.sqrt(HEAD_DIM) + future
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(shares / shares.sum(axis=1, keepdims=True) @ value)
        x = x + np.concatenate(heads, axis=1) @ w[f"o{layer}"]
    return x @ w["head"]


def _lengths(*, for_device: bool) -> Iterator[bytes]:
    if for_device:
        yield node("Gather", "position_ids end_of_row", "lasts", axis=1)
    else:
        yield node("ReduceSum", "attention_mask ones", "counts", keepdims=0)
        yield node("Sub", "counts one", "lasts")


def _nodes(version: int) -> Iterator[bytes]:
    yield node("Gather", "embedding input_ids", "words")
    yield node("Gather", "positions position_ids", "places")
    yield node("Add", "words places", "x0")
    yield node("Cast", "lasts", "seqlens", to=INT32)
    yield node("Shape", "attention_mask", "mask_shape")
    yield node("Gather", "mask_shape one", "width")
    yield node("Cast", "width", "total", to=INT32)
    for layer in range(LAYERS):
        for kind in "qkv":
            yield node("MatMul", f"x{layer} {kind}{layer}", f"{kind}{layer}.out")
        past = f"past_key_values.{layer}.key past_key_values.{layer}.value"
        yield node(
            "GroupQueryAttention",
            f"q{layer}.out k{layer}.out v{layer}.out {past} seqlens total",
            f"a{layer} present.{layer}.key present.{layer}.value",
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=KV_HEADS,
        )
        yield node("MatMul", f"a{layer} o{layer}", f"update{layer}")
        yield node("Add", f"x{layer} update{layer}", f"x{layer + 1}")
    if version == 1:
        yield node("Neg", "num_logits_to_keep", "minus")
        yield node("Reshape", "minus last", "logits_start")
    yield node("Slice", f"x{LAYERS} logits_start end ones", "kept")
    yield node("MatMul", "kept head", "logits")


def _interface(version: int) -> dict[str, bytes]:
    cache = ("batch", KV_HEADS, "past", HEAD_DIM)
    fields = {
        "input_ids": value_info(11, "input_ids", INT64, "batch", "new"),
        "attention_mask": value_info(11, "attention_mask", INT64, "batch", "total"),
        "position_ids": value_info(11, "position_ids", INT64, "batch", "new"),
        HEADS_OF_LOGITS[version][0]: value_info(
            11, HEADS_OF_LOGITS[version][0], INT64, *HEADS_OF_LOGITS[version][1].shape
        ),
        "logits": value_info(12, "logits", FLOAT, "batch", "kept", VOCAB),
    }
    for layer in range(LAYERS):
        for kind in ("key", "value"):
            past, present = f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}"
            fields |= {
                past: value_info(11, past, FLOAT, *cache),
                present: value_info(12, present, FLOAT, *cache),
            }
    return fields
