"""Models of GGUF files as those of transformers: configuration, names and order of weights, by architecture.

What llama.cpp's converter (``convert_hf_to_gguf.py``) changes is changed back: rotary rows of the llama architecture
lie in pairs, gemma's norms have one added to them. What a file says beyond the tables here is refused by its name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import listed, shown
from llmbuilder_export.sources.ggufs import GGUF

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QUERY_KEY_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_NORMS_AROUND = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_ROTARY_FACTORS = "rope_freqs.weight"
_NAME = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)")
_KNOWN = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "attention.value_length",
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.factor",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
        "rope.scaling.type",
        "vocab_size",
    }
)


@dataclass(frozen=True)
class _Architecture:
    """How one of llama.cpp's architectures is called, and differs, in transformers."""

    model: str
    kind: str
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of weights in a layer, where they are not those of Llama."""
    options: Mapping[str, Any] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """What a file says of this architecture only."""
    pairs: bool = False
    """Whether rotary rows lie in pairs."""
    shift: float = 0.0
    """What the converter has added to the weights of norms."""


_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"}
_ARCHITECTURES = {
    "llama": _Architecture("LlamaForCausalLM", "llama", pairs=True),
    "qwen2": _Architecture("Qwen2ForCausalLM", "qwen2", options={"use_sliding_window": False}),
    "qwen3": _Architecture(
        "Qwen3ForCausalLM", "qwen3", _QUERY_KEY_NORMS, {"use_sliding_window": False, "attention_bias": False}
    ),
    "gemma": _Architecture("GemmaForCausalLM", "gemma", options=_GEMMA, shift=1.0),
    "gemma2": _Architecture(
        "Gemma2ForCausalLM",
        "gemma2",
        _NORMS_AROUND,
        _GEMMA,
        frozenset({"attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window"}),
        shift=1.0,
    ),
    "gemma3": _Architecture(
        "Gemma3ForCausalLM",
        "gemma3_text",
        _NORMS_AROUND | _QUERY_KEY_NORMS,
        _GEMMA,
        frozenset({"attention.sliding_window"}),
        shift=1.0,
    ),
}
_LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}
"""Layers of the models of 27B, which alone scale attention by the width of the model over its heads."""


def check_architecture(file: GGUF) -> None:
    """Refuse what is no model that can be exported, by its name.

    Raises:
        ExportError: another architecture, or one with properties that are not known here.
    """
    name = file.architecture
    if name not in _ARCHITECTURES:
        raise ExportError(
            f"{file.path} is a GGUF file of a model of the architecture {shown(name)}; those of "
            f"{', '.join(_ARCHITECTURES)} can be exported. Export the model from its Hugging Face directory instead."
        )
    if file.get(f"{name}.expert_count", int):
        raise ExportError(f"{file.path} is a GGUF file of a mixture of experts, which cannot be exported.")
    known = _KNOWN | _ARCHITECTURES[name].known
    others = [
        key for key, value in file.facts.items() if key.startswith(f"{name}.") and not _is_nothing(value)
    ]
    if unknown := [key for key in others if key.removeprefix(f"{name}.") not in known]:
        raise ExportError(
            f"{file.path} says {listed(unknown)}, which is not known here, so the model may differ from what would "
            "be exported. Export it from its Hugging Face directory instead."
        )


def _is_nothing(value: object) -> bool:
    return not isinstance(value, list | np.ndarray) and not value


def model_config(file: GGUF) -> dict[str, Any]:
    """The ``config.json`` of a file's model, without its special tokens.

    Raises:
        ExportError: the file does not say all, or something that cannot be exported.
    """
    name = file.architecture
    architecture = _ARCHITECTURES[name]

    def whole(key: str) -> int:
        if (value := file.need(f"{name}.{key}", int)) < 1:
            raise ExportError(
                f"{file.path} says {name}.{key} {value}, which it cannot be. Get the file again."
            )
        return value

    layers, heads, width = whole("block_count"), whole("attention.head_count"), whole("embedding_length")
    if 2 * layers > len(file.tensors):
        raise ExportError(f"{file.path} says {layers} layers, but holds only {len(file.tensors)} tensors.")
    size = file.get(f"{name}.attention.key_length", int) or width // heads
    for key in ("attention.value_length", "rope.dimension_count"):
        if (other := file.get(f"{name}.{key}", int)) is not None and other != size:
            raise ExportError(
                f"{file.path} says {name}.{key} {other} for heads of {size}: that cannot be exported."
            )
    rows = file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else 0
    return {
        "architectures": [architecture.model],
        "model_type": architecture.kind,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": whole("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": file.get(f"{name}.attention.head_count_kv", int) or heads,
        "head_dim": size,
        "max_position_embeddings": whole("context_length"),
        "rms_norm_eps": _shortest(file.need(f"{name}.attention.layer_norm_rms_epsilon", float)),
        **_positions(file, name),
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "torch_dtype": "float32",
        "vocab_size": rows,
        **architecture.options,
        **_extras(file, name, width // heads if layers == _LARGEST_GEMMA.get(name) else size),
    }


def _shortest(number: float) -> float:
    """The shortest decimal that is this number in float32, as the model's author wrote it."""
    return float(str(np.float32(number)))


def _positions(file: GGUF, name: str) -> dict[str, Any]:
    """How positions rotate."""
    theta = file.get(f"{name}.rope.freq_base", float) or 10_000.0
    kind = file.get(f"{name}.rope.scaling.type", str) or "none"
    options: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if kind == "linear":
        factor = file.need(f"{name}.rope.scaling.factor", float)
        options |= {"rope_type": "linear", "factor": factor}
    elif kind != "none":
        raise ExportError(
            f"{file.path} scales positions by {shown(kind)}, which cannot be exported from a GGUF file. "
            "Export the model from its Hugging Face directory instead."
        )
    if name != "gemma3":
        return {"rope_theta": theta, "rope_parameters": options}
    local = {"rope_type": "default", "rope_theta": 10_000.0}
    return {"rope_parameters": {"full_attention": options, "sliding_attention": local}}


def _extras(file: GGUF, name: str, scale: int) -> dict[str, Any]:
    """What only the later Gemmas have."""
    if name not in _LARGEST_GEMMA:
        return {}
    extras: dict[str, Any] = {
        "query_pre_attn_scalar": scale,
        "sliding_window": file.need(f"{name}.attention.sliding_window", int),
    }
    if name == "gemma2":
        extras["attn_logit_softcapping"] = file.need(f"{name}.attn_logit_softcapping", float)
        extras["final_logit_softcapping"] = file.need(f"{name}.final_logit_softcapping", float)
    return extras


def weight_names(file: GGUF) -> dict[str, str]:
    """The names in transformers of the weights that a file holds, by theirs there.

    Raises:
        ExportError: there are others.
    """
    names = _LAYER | dict(_ARCHITECTURES[file.architecture].names)
    found, unknown = {}, []
    for stored in file.tensors:
        match = _NAME.fullmatch(stored)
        if stored == _ROTARY_FACTORS and file.architecture == "llama":
            continue
        if match is None or match[2] not in (names if match[1] else _TOP):
            unknown.append(stored)
        else:
            prefix = f"model.layers.{match[1]}.{names[match[2]]}" if match[1] else _TOP[match[2]]
            found[stored] = f"{prefix}.{match[3]}"
    if unknown:
        raise ExportError(
            f"{file.path} holds weights that {_ARCHITECTURES[file.architecture].model} does not have: "
            f"{listed(unknown)}. Export the model from its Hugging Face directory instead."
        )
    return found


def weights(file: GGUF, config: Mapping[str, Any]) -> Iterator[tuple[str, FloatArray]]:
    """Yield every weight as (transformers' name, float32 array [out, in] or [out])."""
    architecture = _ARCHITECTURES[file.architecture]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for stored, name in weight_names(file).items():
        weight = file.weight(stored)
        kind = stored.split(".")[-2]
        if architecture.pairs and kind in heads:
            weight = _parted(weight, heads[kind], file)
        if architecture.shift and "norm" in kind:
            weight -= np.float32(architecture.shift)
        yield name, weight


def rotary_factors(file: GGUF) -> FloatArray | None:
    """What each frequency of rotation is divided by [size of a head / 2], if a Llama 3.1 or later has such."""
    return file.weight(_ROTARY_FACTORS) if _ROTARY_FACTORS in file.tensors else None


def _parted(weight: FloatArray, heads: int, file: GGUF) -> FloatArray:
    """Undo llama.cpp's row order of rotary projections, for a weight [heads * size, in] or a bias [heads * size].

    transformers rotates row i of a head together with row i + size / 2; GGUF files of the llama architecture store such
    pairs side by side.
    """
    rows = len(weight)
    if rows % (2 * heads):
        raise ExportError(
            f"{file.path} says {heads} heads, which do not divide {rows} rows. Get the file again."
        )
    pairs = weight.reshape(heads, rows // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)
