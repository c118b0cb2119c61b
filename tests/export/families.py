"""Tiny configurations of the causal language models that transformers knows, by family and variant."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

WINDOW = 256
_VOCABULARY, _SPREAD = 384, 0.1
_MOST_PARAMETERS = 8_000_000
_NAMES_OF = {
    "vocab_size vocab_size_per_layer_input": _VOCABULARY,
    "hidden_size d_model n_embd": 64,
    "intermediate_size ffn_dim n_inner dff": 96,
    "num_hidden_layers n_layer num_layers n_layers": 2,
    "num_attention_heads n_head num_heads n_heads attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim global_head_dim": 16,
    "max_position_embeddings n_positions max_seq_len n_ctx": WINDOW,
    "sliding_window": 64,
    "moe_intermediate_size shared_expert_intermediate_size": 48,
    "num_experts num_local_experts n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "num_shared_experts n_shared_experts": 1,
    "hidden_size_per_layer_input": 16,
    "word_embed_proj_dim": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SIZES = {name: size for names, size in _NAMES_OF.items() for name in names.split()}
_THETA = {"rope_theta": 1e4}
_LONG = {
    "rope_parameters": _THETA | {
        "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64,
        "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
    },
    "original_max_position_embeddings": 64,
}  # fmt: skip
_LATENT = {
    "q_lora_rank": 32, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
    "num_key_value_heads": 4,
}  # fmt: skip
_GROUPS = {"first_k_dense_replace": 1, "n_routed_experts": 8, "n_group": 4, "topk_group": 2}
"""Of experts, of which some are chosen first."""
_PYTHIA = {"hidden_size": 128, "num_attention_heads": 2}


def _rope(kind: str, **options: object) -> dict[str, Any]:
    return {"rope_parameters": {**_THETA, "rope_type": kind, **options}}


_YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=0.8)
SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "codegen": {"rotary_dim": 8},
    "deepseek_v2": _LATENT | _GROUPS | {"v_head_dim": 8, "topk_method": "group_limited_greedy"},
    "deepseek_v3": _LATENT | _GROUPS | {"head_dim": 8},
    "axk1": _LATENT | _GROUPS | {"head_dim": 8},
    "gemma3n_text": {
        "num_hidden_layers": 6, "num_kv_shared_layers": 2, "activation_sparsity_pattern": None, "laurel_rank": 8,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "gemma4_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 64},
    "gpt_neox": _PYTHIA,
    "gptj": {"rotary_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"no_rope_layers": [1, 0]},
    "mamba2": {"num_heads": 8},
    "glm4_moe_lite": _LATENT | {"head_dim": 8},
    "minicpm3": _LATENT,
    "smollm3": {"no_rope_layers": [1, 0]},
    "youtu": _LATENT | {"head_dim": 8},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {"num_hidden_layers": 6, "layer_types": ["mamba", "mamba", "hybrid"] * 2},
}  # fmt: skip
"""What a family's own sizes need besides."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "cohere+norms": {"use_qk_norm": True},
    "deepseek_v2+all experts": {
        "topk_method": "greedy", "num_experts_per_tok": 3, "n_shared_experts": 2, "q_lora_rank": None,
    } | _YARN,
    "deepseek_v3+halves": {"rope_interleave": False, "q_lora_rank": None, "norm_topk_prob": False},
    "deepseek_v3+yarn": {"num_experts_per_tok": 3, "n_shared_experts": 2} | _YARN,
    "deepseek_v3+equal sizes": {"first_k_dense_replace": 2},
    "deepseek_v3+larger values": {"first_k_dense_replace": 2, "v_head_dim": 32},
    "deepseek_v3+smaller values": {"first_k_dense_replace": 2, "v_head_dim": 8},
    "falcon+biases": {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    "falcon+biases of five heads": {"alibi": True, "hidden_size": 80, "num_attention_heads": 5, "num_kv_heads": None},
    "falcon+groups": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon+old": {"multi_query": False, "parallel_attn": False, "bias": True},
    "gemma2+caps": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma2+no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    "gpt2+scaled by layer": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    "gpt2+unscaled": {"scale_attn_weights": False},
    "gpt2+untied": {"tie_word_embeddings": False},
    "gpt_bigcode+many heads": {"multi_query": False},
    "gpt_neox+GPT-NeoX-20B's heads": {"hidden_size": 192},
    "gpt_neox+Pythia-14m's heads": {"num_attention_heads": 4},
    "gpt_neox+Pythia-2.8b's heads": {"hidden_size": 160},
    "gpt_neox+all rotated": _rope("default", partial_rotary_factor=1.0),
    "gpt_neox+sequential": {"use_parallel_residual": False},
    "gptj+much rotated": {"hidden_size": 128, "rotary_dim": 32},
    "gpt_oss+many experts": {"num_local_experts": 32, "num_experts_per_tok": 4},
    "granitemoehybrid+attention": {"layer_types": ["attention", "attention"]},
    "granite+multipliers": {
        "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22, "attention_multiplier": 0.03,
    },
    "granite_swa+rotated by layer": {"layer_rope_theta": [1e4, 1e2]},
    "llama+bias": {"attention_bias": True, "mlp_bias": True},
    "llama+dynamic": _rope("dynamic", factor=2.0),
    "llama+heads of 12": {"head_dim": 12},
    "llama+heads of 256": {"head_dim": 256},
    "llama+linear": _rope("linear", factor=4.0),
    "llama+llama3": _rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
    ),
    "llama+one key": {"num_key_value_heads": 1},
    "llama+partly rotated": _rope("default", partial_rotary_factor=0.5),
    "llama+three heads": {"num_attention_heads": 3, "num_key_value_heads": 3, "hidden_size": 48},
    "llama+tied": {"tie_word_embeddings": True},
    "llama+yarn": _rope("yarn", factor=4.0, original_max_position_embeddings=64),
    "ministral3+scaled": _rope(
        "yarn", factor=4.0, original_max_position_embeddings=64, llama_4_scaling_beta=0.1
    ),
    "mixtral+window": {"sliding_window": 64},
    "mistral+no window": {"sliding_window": None},
    "nemotron+heads of 128": _PYTHIA | {"hidden_size": 256, "num_key_value_heads": 1, "head_dim": 128},
    "olmo+clipped": {"clip_qkv": 0.5},
    "opt+projected": {"do_layer_norm_before": False, "word_embed_proj_dim": 32},
    "phi+norms": {"qk_layernorm": True},
    "phi3+small heads partly rotated": _rope("default", partial_rotary_factor=0.75),
    "phi3+long": _LONG | {"max_position_embeddings": 64},
    "phi3+partly rotated": {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
    | _rope("default", partial_rotary_factor=0.75),
    "qwen2+windows": {"use_sliding_window": True, "max_window_layers": 1},
    "qwen2_moe+dense layers": {"decoder_sparse_step": 2, "norm_topk_prob": True},
    "qwen3_moe+many experts": {"num_experts": 32, "num_local_experts": 32, "num_experts_per_tok": 8},
    "qwen3_moe+six chosen": {
        "num_experts": 12, "num_local_experts": 12, "num_experts_per_tok": 6, "norm_topk_prob": True,
    },
    "smollm3+windows": {"use_sliding_window": True},
    "stablelm+parallel": {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True},
}  # fmt: skip
ROUTED = (
    "afmoe", "aria_text", "axk1", "cohere2_moe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "exaone_moe",
    "flex_olmo", "glm4_moe", "glm4_moe_lite", "gpt_oss", "granitemoe", "granitemoe_swa", "granitemoeshared",
    "hunyuan_v1_moe", "hy_v3", "kolibri1", "laguna", "mellum", "minimax_m2", "mixtral", "olmoe", "qwen2_moe",
    "qwen3_moe", "solar_open",
)  # fmt: skip
EXPORTED = (
    "apertus", "arcee", "beam", "biogpt", "bitnet", "bloom", "codegen", "cohere", "cohere2", "ctrl", "cwm",
    "ernie4_5", "exaone4", "falcon", "flint", "gemma", "gemma2", "gemma3_text", "gemma3n_text", "glm", "glm4",
    "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gptj", "granite", "helium",
    "hunyuan_v1_dense", "hyperclovax", "internlm3", "iquestcoder", "jais2", "lfm2", "lfm3", "llama", "minicpm3",
    "ministral", "ministral3", "mistral", "modernbert-decoder", "moshi", "mpt", "nanochat", "nemotron", "olmo",
    "olmo2", "olmo3", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm",
    "granite_swa", "starcoder2", "vaultgemma", "xglm", "youtu", *ROUTED, *VARIANTS,
)  # fmt: skip
"""What can be exported."""
BY_OWN_CODE = (
    "bloom", "codegen", "falcon", "falcon+biases", "gpt_neo", "gpt_neox_japanese", "gptj", "granite_swa", "mpt",
    "xglm",
)  # fmt: skip
SEEDED = tuple((name, seed) for name in EXPORTED for seed in range(3 if name in ROUTED + BY_OWN_CODE else 1))
"""What can be exported, with seeds of random weights: three where we have code for the family."""
FOREIGN_WORDS = re.compile(
    r"NoneType|Error\b|ForCausalLM|LMHead|[Ee]xception|%\w|\bnode\b|call_function|aten|torch\.|mat1|shape '"
)
"""What no refusal says: words of torch, transformers, onnx or Python itself."""
KINDS = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
"""Every family of transformers that has a causal language model."""


def configure(name: str, **sizes: int) -> PretrainedConfig:
    """The tiny configuration of a family, or of its variant: ``llama`` or ``llama+tied``; some ``sizes`` may be other.

    Raises:
        Exception: whatever its class raises if the common sizes do not fit it.
    """
    kind = name.partition("+")[0]
    made = CONFIG_MAPPING[kind]
    usual = made().to_dict()
    options = {key: size for key, size in _SIZES.items() if key in usual}
    options |= _layers(usual, options) | SPECIAL.get(kind, {}) | VARIANTS.get(name, {}) | sizes
    return made(**options)


def _layers(usual: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, list[str]]:
    """As many kinds of layers as the family mixes, full attention last."""
    kinds = list(dict.fromkeys(usual.get("layer_types") or ()))
    kinds.sort(key=lambda kind: kind == "full_attention")
    return {"layer_types": kinds[-options.get("num_hidden_layers", 2) :]} if len(kinds) > 1 else {}


def save_family(name: str, directory: Path, seed: int = 0, **sizes: int) -> None:
    """Write a model of a family, of `configure`, with random weights large enough to matter.

    Raises:
        ValueError: its sizes are other ones than the common: it is not tiny.
    """
    config = configure(name, **sizes)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError(f"{name} has {size} parameters: name its sizes")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in (*model.parameters(), *_biases_of_choices(model)):
            weight.add_(torch.randn(weight.shape, generator=generator) * _SPREAD)
    model.save_pretrained(directory)


def _biases_of_choices(model: torch.nn.Module) -> list[torch.Tensor]:
    """What is added to scores of experts before some are chosen; no parameters, but stored."""
    return [each for name, each in model.named_buffers() if name.endswith("e_score_correction_bias")]
