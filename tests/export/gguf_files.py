"""Tiny GGUF files, written by llama.cpp's own writer, with what its converter does to a model's weights."""

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

from llmbuilder_export.sources.gguf_models import _LAYER, _NORMS_AROUND, _QUERY_KEY_NORMS

KINDS = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 16, "num_hidden_layers": 6},
}
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


def paired(weight, heads):
    """``LlamaModel.permute`` of llama.cpp's convert_hf_to_gguf.py."""
    shape = weight.shape
    halves = weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
    return halves.swapaxes(1, 2).reshape(shape)


def stored_name(name):
    """A weight's name in GGUF files, of one in transformers."""
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    path, _, end = name.rpartition(".")
    if path in top:
        return f"{top[path]}.{end}"
    _, _, layer, inner = path.split(".", 3)
    return layer, inner, end


def tensors(model, architecture):
    """Name and numbers of every tensor that the converter writes."""
    gemma = architecture.startswith("gemma")
    around = architecture in ("gemma2", "gemma3")
    names = {hf: gguf for gguf, hf in (_LAYER | _QUERY_KEY_NORMS | (_NORMS_AROUND if around else {})).items()}
    if around:
        names["post_attention_layernorm"] = "post_attention_norm"
    config = model.config
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        numbers = weight.numpy()
        if gemma and "norm" in name:
            numbers = numbers + np.float32(1)
        place = stored_name(name)
        if isinstance(place, tuple):
            layer, inner, end = place
            if architecture == "llama" and inner in ("self_attn.q_proj", "self_attn.k_proj"):
                keys = inner == "self_attn.k_proj"
                numbers = paired(numbers, config.num_key_value_heads if keys else config.num_attention_heads)
            place = f"blk.{layer}.{names[inner]}.{end}"
        yield place, np.ascontiguousarray(numbers)


def write_gguf(
    path, model, vocabulary, *, form=GGMLQuantizationType.F32, change=None, facts=None, extra=None
):
    """Write a model.

    Args:
        path: the file.
        model: of transformers.
        vocabulary: called with the writer; adds a tokenizer.
        form: of matrices.
        change: called with name and numbers of each tensor; gives others, or None to leave it out.
        facts: of the architecture, with their values; None leaves one out.
        extra: further tensors.
    """
    config = model.config
    architecture = {"gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    writer = GGUFWriter(path, architecture)
    said = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    }
    if architecture in ("gemma2", "gemma3"):
        said["attention.sliding_window"] = config.sliding_window
    if architecture == "gemma3":
        said["rope.freq_base"] = 1e6
    if architecture == "gemma2":
        said["attn_logit_softcapping"] = config.attn_logit_softcapping
        said["final_logit_softcapping"] = config.final_logit_softcapping
    for key, value in (said | (facts or {})).items():
        if isinstance(value, str):
            writer.add_string(f"{architecture}.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{architecture}.{key}", value)
        elif value is not None:
            writer.add_uint32(f"{architecture}.{key}", value)
    vocabulary(writer)
    for name, numbers in [*tensors(model, architecture), *(extra or {}).items()]:
        numbers = change(name, numbers) if change else numbers  # noqa: PLW2901
        if numbers is None:
            continue
        if numbers.ndim == 2 and form != GGMLQuantizationType.F32:
            writer.add_tensor(name, quantize(numbers, form), raw_dtype=form)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_vocabulary(tokenizer, *, pre="gpt-2", **facts):
    """Of a byte-level ``tokenizer.json`` as a mapping; ``facts`` are of the tokenizer."""
    vocab = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}

    def add(writer):
        writer.add_tokenizer_model("gpt2")
        if pre:
            writer.add_tokenizer_pre(pre)
        writer.add_token_list(vocab)
        writer.add_token_types([TokenType.CONTROL if t in special else TokenType.NORMAL for t in vocab])
        merges = tokenizer["model"]["merges"]
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
        writer.add_chat_template(TEMPLATE)
        _add_facts(writer, {"bos_token_id": 0, "eos_token_id": 0} | facts)

    return add


def sentencepiece_vocabulary(processor, **facts):
    """Of a SentencePiece model."""
    count = processor.vocab_size()

    def kind(i):
        tests = (
            (processor.is_unknown, TokenType.UNKNOWN),
            (processor.is_control, TokenType.CONTROL),
            (processor.is_byte, TokenType.BYTE),
        )
        return next((kind for test, kind in tests if test(i)), TokenType.NORMAL)

    def add(writer):
        writer.add_tokenizer_model("llama")
        writer.add_token_list([processor.id_to_piece(i) for i in range(count)])
        writer.add_token_scores([processor.get_score(i) for i in range(count)])
        writer.add_token_types([kind(i) for i in range(count)])
        ids = {"bos": processor.bos_id(), "eos": processor.eos_id(), "unknown": processor.unk_id()}
        _add_facts(writer, {f"{name}_token_id": i for name, i in ids.items() if i >= 0} | facts)

    return add


def _add_facts(writer, facts):
    for name, value in facts.items():
        if value is None:
            continue
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        add(f"tokenizer.ggml.{name}", value)
