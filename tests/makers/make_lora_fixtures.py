"""Write tests/export/lora/: adapters as PEFT 0.21.2 saves them, their tiny bases, and what PEFT computes with both.

In an environment with torch, transformers and peft (its wheel beside those of .venv-dev is enough):

    PYTHONPATH=SITE python tests/makers/make_lora_fixtures.py
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

OUTPUT = Path(__file__).resolve().parents[1] / "export" / "lora"
IDS = [[1, 5, 3, 9, 7, 2, 11, 4]]
LLAMA = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "attention_bias": True,
    "tie_word_embeddings": True,
}
GPT2 = {"vocab_size": 20, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 32}
BASES = {"llama": LLAMA, "gpt2": GPT2}
PROJECTIONS = ["q_proj", "v_proj", "down_proj"]
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "plain": ("llama", {"target_modules": PROJECTIONS, "lora_alpha": 16}),
    "rslora": ("llama", {"target_modules": PROJECTIONS, "use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": PROJECTIONS,
            "rank_pattern": {"layers.0.self_attn.q_proj": 3, r"^model\.layers\.1\..*down_proj": 2},
            "alpha_pattern": {"v_proj": 32},
        },
    ),
    "dora": ("llama", {"target_modules": PROJECTIONS, "use_dora": True}),
    "biases": ("llama", {"target_modules": PROJECTIONS, "bias": "all"}),
    "adapted_biases": ("llama", {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "tied_embedding": ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
    "tied_head": ("llama", {"target_modules": ["q_proj", "lm_head"]}),
    "whole_modules": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]}),
    "whole_embedding": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "some_layers": ("llama", {"target_modules": PROJECTIONS, "layers_to_transform": [1]}),
    "expression": ("llama", {"target_modules": r".*\.mlp\.(up|gate)_proj"}),
    "turned": ("gpt2", {"target_modules": ["c_attn", "c_proj", "wte"], "fan_in_fan_out": True}),
    "turned_dora": ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": True}),
}


def main() -> None:
    """Write everything anew."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for name, options in BASES.items():
        torch.manual_seed(0)
        shake(AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **options))).save_pretrained(
            OUTPUT / name
        )
    for seed, (name, (base, options)) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        write(name, OUTPUT / base, options)


def write(name: str, base: Path, options: dict[str, object]) -> None:
    """An adapter whose weights are all trained, as it were, and its logits as PEFT computes them when it is loaded."""
    folder = OUTPUT / name
    adapted = get_peft_model(load(base), LoraConfig(r=4, task_type="CAUSAL_LM", **options))
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.3
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"somebody/{base.name}"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    loaded = PeftModel.from_pretrained(load(base), folder).eval()
    with torch.no_grad():
        save_file({"logits": loaded(torch.tensor(IDS)).logits[0]}, folder / "expected.safetensors")


def load(base: Path) -> PreTrainedModel:
    """The base, afresh."""
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def shake(model: PreTrainedModel) -> PreTrainedModel:
    """Weights large enough to matter, none of them zero."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model


if __name__ == "__main__":
    main()
