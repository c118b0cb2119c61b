"""LoRA adapters merged into their base: what PEFT computes with both, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from gguf_files import byte_vocabulary, write_gguf
from safetensors.torch import load_file, save_file
from test_huggingface_source import save_model
from transformers import AutoModelForCausalLM

from llmbuilder.engine.model import Model
from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export import export_model
from llmbuilder_export.sources import load_source, lora

FOLDER = Path(__file__).with_name("lora")
IDS = torch.tensor([[1, 5, 3, 9, 7, 2, 11, 4]])
BASES = ("llama", "gpt2")
CASES = sorted(path.name for path in FOLDER.iterdir() if path.name not in BASES)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DOWN, UP = (f"base_model.model.model.layers.0.self_attn.q_proj.lora_{letter}.weight" for letter in "AB")


def base_of(case):
    return FOLDER / ("gpt2" if case.startswith("turned") else "llama")


@pytest.fixture
def adapter(tmp_path):
    """A copy of an adapter, changed as asked."""

    def change(case="plain", weights=lambda stored: stored, **options):
        folder = tmp_path / "adapter"
        shutil.copytree(FOLDER / case, folder)
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | options))
        save_file(weights(load_file(folder / WEIGHTS)), folder / WEIGHTS)
        return folder

    return change


def refused(folder, message, base=FOLDER / "llama"):
    with pytest.raises(ExportError, match=message):
        load_source(base, adapter=folder)


@pytest.mark.parametrize("case", CASES)
def test_a_merged_model_computes_what_peft_does_with_base_and_adapter(case):
    network = load_source(base_of(case), adapter=FOLDER / case).network
    expected = load_file(FOLDER / case / "expected.safetensors")["logits"]
    torch.testing.assert_close(network.reference(IDS)[0], expected, atol=2e-5, rtol=1e-4)
    alone = load_source(base_of(case)).network.reference(IDS)[0]
    assert (alone - expected).abs().max() > 0.1


@pytest.fixture(scope="module")
def gguf_base(tmp_path_factory, byte_bpe_file):
    """The adapters' base as a GGUF file, under the name of one that is quantized."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER / "llama")
    model.config.head_dim = model.config.hidden_size // model.config.num_attention_heads
    words = byte_vocabulary(json.loads(byte_bpe_file.read_text()))
    return write_gguf(tmp_path_factory.mktemp("gguf") / "llama-Q8_0.gguf", model, words)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("turned")])
def test_a_gguf_file_with_an_adapter_merged_computes_what_peft_does(case, gguf_base):
    source = load_source(gguf_base, adapter=FOLDER / case)
    expected = load_file(FOLDER / case / "expected.safetensors")["logits"]
    torch.testing.assert_close(source.network.reference(IDS)[0], expected, atol=2e-5, rtol=1e-4)
    assert (source.facts.kind, source.facts.adapter) == ("gguf", case)


def test_an_adapter_of_another_model_is_not_merged_into_a_gguf_file(adapter, gguf_base):
    folder = adapter(base_model_name_or_path="org/other")
    refused(folder, r"adapter for org/other, not for .*\.gguf\. Pass that model", base=gguf_base)


def test_the_bundle_of_a_merged_model_names_the_adapter_and_lies_beside_it(tmp_path, byte_bpe_file):
    save_model(tmp_path / "base", "llama")
    shutil.copy(byte_bpe_file, tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 8}))
    save_file({DOWN: torch.randn(2, 32), UP: torch.randn(64, 2)}, tmp_path / "adapter" / WEIGHTS)
    folders = tmp_path / "base", tmp_path / "adapter"
    report = export_model(folders[0], adapter=folders[1], quantization="none", progress=lambda _: None)
    assert report.path == tmp_path / "adapter-onnx"
    assert (report.manifest.source.name, report.manifest.source.adapter) == ("base", "adapter")
    decoder = Model.open(report.path, report.manifest).decoder()
    expected = load_source(folders[0], adapter=folders[1]).network.reference(IDS)[0, -1:]
    torch.testing.assert_close(torch.from_numpy(decoder.prefill(0, IDS[0].tolist(), keep=1)), expected)


def test_half_precision_and_pickled_adapters_are_merged_in_float32(adapter):
    folder = adapter(weights=lambda stored: {name: w.bfloat16() for name, w in stored.items()})
    weights = load_file(folder / WEIGHTS)
    logits = load_source(FOLDER / "llama", adapter=folder).network.reference(IDS)
    assert logits.dtype == torch.float32
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "adapter_model.bin")
    again = load_source(FOLDER / "llama", adapter=folder).network.reference(IDS)
    assert torch.equal(logits, again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"peft_type": "IA3"}, "is a IA3 adapter for somebody/llama; only LoRA"),
        ({"peft_type": ["LORA"]}, "only LoRA"),
        ({"task_type": "SEQ_CLS"}, "is for SEQ_CLS, not for CAUSAL_LM"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights pissa_niter_4"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights"),
        ({"alora_invocation_tokens": [1]}, "has alora_invocation_tokens, which cannot be merged"),
        ({"target_parameters": ["mlp.experts"]}, "has target_parameters, which"),
        ({"layer_replication": [[0, 2]]}, "has layer_replication, which"),
        ({"trainable_token_indices": [3]}, "has trainable_token_indices, which"),
        ({"lora_bias": True}, "has lora_bias, which"),
        ({"some_future_option": {"x": 1}}, "has some_future_option, which"),
        ({"r": 0}, "says r 0, which it cannot be"),
        ({"r": True}, "says r True"),
        ({"lora_alpha": float("nan")}, "says lora_alpha nan"),
        ({"lora_alpha": "16"}, "says lora_alpha 16"),
        ({"rank_pattern": {"q_proj": 1.5}}, "says rank_pattern"),
        ({"rank_pattern": [1]}, "says rank_pattern"),
        ({"alpha_pattern": {"(q_proj": 3}}, r"the pattern \(q_proj, which cannot be used"),
        ({"bias": "some"}, "says bias some"),
        ({"modules_to_save": "lm_head"}, "says modules_to_save lm_head"),
        ({"target_modules": [1]}, "says target_modules"),
        ({"r": 5}, r"rank 5 and the base need \[5, \d+\] and \[8, 5\]"),
        ({"base_model_name_or_path": "org/other"}, "adapter for org/other, not for .*llama"),
        ({"base_model_name_or_path": "C:\\models\\other\\"}, "not for"),
        ({"target_modules": ["k_proj"]}, r"lacks the weights of .*k_proj"),
        ({"modules_to_save": ["lm_head"]}, "lacks the weights of lm_head"),
        ({"use_dora": True}, r"holds A, B for .*, instead of A, B, magnitude_vector"),
    ],
)
def test_an_adapter_that_cannot_be_merged_exactly_is_refused_by_name(adapter, options, message):
    refused(adapter(**options), message)


def test_a_pattern_that_takes_for_ever_is_given_up(adapter, monkeypatch):
    monkeypatch.setattr(lora, "_PATIENCE", 0.05)
    refused(adapter(alpha_pattern={r"(\w|[a-z]|\.|[^x])*[XYZ]": 3}), "cannot be used .*(timed out|too long)")


@pytest.mark.parametrize(
    "name", [None, "", "somebody/llama/", "/home/me/LLAMA", "C:\\models\\llama", "./llama", 3]
)
def test_the_base_may_be_named_in_many_ways(adapter, name):
    load_source(FOLDER / "llama", adapter=adapter(base_model_name_or_path=name))


def test_a_base_in_the_hubs_cache_is_known_by_its_folder(adapter, tmp_path):
    base = tmp_path / "models--somebody--llama" / "snapshots" / "0123"
    shutil.copytree(FOLDER / "llama", base)
    load_source(base, adapter=adapter())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {name: v for name, v in w.items() if name != UP}, "holds A for .*instead of A, B"),
        (lambda w: w | {DOWN: torch.ones(4, 9)}, r"shapes \[4, 9\] and \[8, 4\]; rank 4 and the base need"),
        (lambda w: w | {DOWN: torch.ones(32)}, r"shapes \[32\]"),
        (lambda w: w | {DOWN: w[DOWN].to(torch.int8)}, "as no floating-point numbers"),
        (
            lambda w: {k.replace("layers.0", "layers.7"): v for k, v in w.items()},
            "which .*llama does not have",
        ),
        (lambda w: {k.removeprefix("base_model."): v for k, v in w.items()}, "no weight of a LoRA adapter"),
        (lambda w: {k: v for k, v in w.items() if "layers.0" in k}, "lacks the weights of .*layers.1"),
        (lambda _: {}, "holds no LoRA weights"),
        (
            lambda w: w | {"base_model.model.model.norm.weight": torch.ones(8)},
            "does not say to replace",
        ),
        (
            lambda w: w | {"base_model.model.lm_head.weight": torch.ones(22, 8)},
            r"\[22, 8\].*\[20, 8\].*tokens",
        ),
        (lambda w: w | {"base_model.model.score.weight": torch.ones(2, 8)}, "holds score.weight, which"),
        (
            lambda w: w | {k.replace("q_proj.", ""): v.clone() for k, v in w.items() if "q_proj" in k},
            "adapts model.layers.0.self_attn, a LlamaAttention, which",
        ),
    ],
)
def test_weights_that_do_not_belong_to_the_base_are_refused_by_name(adapter, change, message):
    refused(adapter(weights=change), message)


def test_an_embedding_adapted_by_dora_is_refused(adapter):
    refused(adapter("tied_embedding", use_dora=True, target_modules=["embed_tokens", "q_proj"]), "holds|DoRA")


def test_no_number_is_refused_after_merging(adapter):
    refused(adapter(weights=lambda w: w | {UP: w[UP] * float("nan")}), "NaN or infinity in .*q_proj")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_pipe_among_an_adapters_files_is_refused_without_waiting_for_it(adapter, name):
    folder = adapter()
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name} is not a plain file")


def test_what_is_no_adapter_is_said_to_be_none(tmp_path, adapter, checkpoint):
    with pytest.raises(ModelNotFoundError, match="no adapter at"):
        load_source(FOLDER / "llama", adapter=tmp_path / "missing")
    refused(FOLDER / "llama", r"is no adapter: it has no adapter_config\.json")
    refused(adapter() / WEIGHTS, "is a file. Pass the directory")
    refused(
        FOLDER / "plain",
        "adapters are merged into directories of Hugging Face models and GGUF files",
        base=checkpoint,
    )
    (tmp_path / "adapter" / WEIGHTS).unlink()
    refused(tmp_path / "adapter", r"adapter_model\.safetensors is missing")


def test_an_adapter_given_alone_is_told_how_to_give_its_base(adapter):
    folder = adapter()
    with pytest.raises(
        ExportError,
        match=rf"is a LoRA adapter for somebody/llama; give its base: llmb export BASE --adapter {folder}",
    ):
        load_source(folder)
