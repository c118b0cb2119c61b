"""Modules in memory: each becomes a bundle that computes what it does, and stays as it was."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_models import HEADS, VOCABULARY, gpt_state
from test_adapters import CASES, FOLDER, IDS, base_of
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2Model, LlamaConfig, LlamaForCausalLM

from llmbuilder import TextGenerator
from llmbuilder.errors import ExportError
from llmbuilder_export import export_model
from llmbuilder_export.sources.modules import load_module

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "modules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
PROMPT = [5, 17, 44, 8]
PIECES = 330
"""Of the tokenizer: the runtime writes no others."""


def quiet(_):
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def page():
    """What the page's first block defines."""
    namespace = {}
    exec(compile(BLOCKS[0], "docs/guide/modules.md", "exec"), namespace)  # noqa: S102 (our own document)
    return namespace


@pytest.fixture
def my_gpt(page):
    torch.manual_seed(0)
    model = page["MyGPT"](vocabulary=VOCABULARY, context_length=48)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


@pytest.fixture
def tokenizer(sentencepiece_file, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.model").write_bytes(sentencepiece_file.read_bytes())
    return tmp_path / "tokenizer"


class GPTModel(nn.Module):
    """LLMBuilder's, by its own names and formulas, which are those of the network that checkpoints get."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.n_head, self.scale = HEADS, scale
        for name, weight in gpt_state().items():
            self.put(name, weight)

    def put(self, name, weight):
        """Keep a weight under its dotted name."""
        place = self
        *path, last = name.split(".")
        for part in path:
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        if last == "causal_mask":
            place.register_buffer(last, weight)
        else:
            place.register_parameter(last, nn.Parameter(weight))

    def forward(self, input_ids, targets=None):
        norm, linear = nn.functional.layer_norm, nn.functional.linear
        w = dict(self.named_parameters())
        x = w["token_embedding.weight"][input_ids] + w["position_embedding.weight"][: input_ids.shape[1]]
        width = x.shape[2]
        for at in ("blocks.0.", "blocks.1."):
            y = norm(x, (width,), w[f"{at}ln1.weight"], w[f"{at}ln1.bias"])
            heads = (
                part.unflatten(2, (self.n_head, -1)).transpose(1, 2)
                for part in linear(y, w[f"{at}attn.qkv_proj.weight"]).chunk(3, dim=2)
            )
            mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
            mixed = mixed.transpose(1, 2).flatten(2) * self.scale
            x = x + linear(mixed, w[f"{at}attn.out_proj.weight"], w[f"{at}attn.out_proj.bias"])
            y = norm(x, (width,), w[f"{at}ln2.weight"], w[f"{at}ln2.bias"])
            y = nn.functional.gelu(linear(y, w[f"{at}mlp.fc1.weight"], w[f"{at}mlp.fc1.bias"]))
            x = x + linear(y, w[f"{at}mlp.fc2.weight"], w[f"{at}mlp.fc2.bias"])
        x = norm(x, (width,), w["ln_f.weight"], w["ln_f.bias"])
        return linear(x, w["token_embedding.weight"]), None


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=48, initializer_range=0.3, eos_token_id=[7, 9],
    )  # fmt: skip
    return LlamaForCausalLM(config)


def greedy(model, ids, count):
    """Of the tokenizer's tokens those that a module finds likeliest, one after another, each from the whole text."""
    model = model.eval()
    ids = list(ids)
    with torch.inference_mode():
        for _ in range(count):
            output = model(torch.tensor([ids]))
            logits = output if isinstance(output, torch.Tensor) else output[0]
            ids.append(int(logits[0, -1, :PIECES].argmax()))
    return ids[-count:]


def generated(bundle, count):
    with TextGenerator(bundle) as generator:
        done = generator.complete(PROMPT, do_sample=False, max_new_tokens=count, early_stopping=False)
    return list(done[0].token_ids)


def test_the_module_of_the_page_writes_its_own_tokens(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace = {}
    for block in BLOCKS:
        exec(compile(block, "docs/guide/modules.md", "exec"), namespace)  # noqa: S102 (our own document)
    manifest = namespace["report"].manifest
    assert len(BLOCKS[0].splitlines()) <= 60
    assert generated("bundle", 24) == greedy(namespace["model"], PROMPT, 24)
    assert manifest.source.kind == "module"
    assert manifest.model.architecture == manifest.source.name == "MyGPT"
    assert manifest.verification["max_logit_difference_steps"] < 1e-4


def test_a_model_of_transformers_writes_its_own_tokens(tokenizer, tmp_path):
    model = llama()
    report = export_model(model, tokenizer, tmp_path / "bundle", quantization="none", progress=quiet)
    assert generated(report.path, 24) == greedy(model, PROMPT, 24)
    assert report.manifest.tokenizer.eos_token_ids == (7, 9)


def test_llmbuilders_gpt_writes_its_own_tokens(tokenizer, tmp_path):
    model = GPTModel()
    report = export_model(model, tokenizer, tmp_path / "bundle", quantization="none", progress=quiet)
    assert generated(report.path, 24) == greedy(model, PROMPT, 24)
    assert report.manifest.model.architecture == "llmbuilder-gpt"


@pytest.mark.parametrize(("make", "quantization"), [("my_gpt", "w8a8"), ("llama", "int4")])
def test_a_module_stays_as_it_was(make, quantization, request, tokenizer, tmp_path):
    model = (llama() if make == "llama" else request.getfixturevalue(make)).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    places = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    modules = {name: type(module) for name, module in model.named_modules()}
    export_model(model, tokenizer, tmp_path / "bundle", quantization=quantization, progress=quiet)
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == places
    assert {name: type(module) for name, module in model.named_modules()} == modules
    assert before.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_a_module_in_half_precision_is_exported_in_float32_and_stays_in_half(my_gpt, tokenizer):
    source = load_module(my_gpt.bfloat16(), tokenizer)
    assert {weight.dtype for weight in source.network.parameters()} == {torch.float32}
    assert {weight.dtype for weight in my_gpt.parameters()} == {torch.bfloat16}


def test_weights_in_float32_are_not_copied(my_gpt, tokenizer):
    source = load_module(my_gpt, tokenizer)
    assert source.network.module.tokens.weight.data_ptr() == my_gpt.tokens.weight.data_ptr()


def test_tied_weights_stay_tied(my_gpt, tokenizer):
    my_gpt.head.weight = my_gpt.tokens.weight
    network = load_module(my_gpt, tokenizer).network
    assert network.module.head.weight is network.module.tokens.weight


def test_the_directory_of_the_tokenizer_gives_the_chat_template(my_gpt, tokenizer):
    (tokenizer / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert load_module(my_gpt, tokenizer).chat_template == "{{ messages[0].content }}"


def changed(my_gpt, **attributes):
    for name, value in attributes.items():
        setattr(my_gpt, name, value)
    return my_gpt


class Subclass:
    """Makes one of the page's model whose forward is another."""

    def __init__(self, page):
        self.page = page

    def __call__(self, forward):
        torch.manual_seed(0)
        kind = type("Other", (self.page["MyGPT"],), {"forward": forward})
        model = kind(vocabulary=VOCABULARY, context_length=48)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.3)
        return model


@pytest.fixture
def with_forward(page):
    return Subclass(page)


def test_what_lacks_the_protocol_is_told_all_of_it(tokenizer):
    with pytest.raises(
        ExportError, match=r"Linear .* lacks .*position_ids.*attention.*context_length.*modules\.md"
    ):
        load_module(nn.Linear(2, 2), tokenizer)


@pytest.mark.parametrize("window", [0, 1, "48", 4.5, True])
def test_a_window_that_is_none_is_refused(my_gpt, tokenizer, window):
    with pytest.raises(ExportError, match="context_length must be a number of tokens"):
        load_module(changed(my_gpt, context_length=window), tokenizer)


def test_attention_that_is_not_called_is_noticed(with_forward, page, tokenizer):
    model = with_forward(
        lambda self, input_ids, position_ids=None, attention=None: page["MyGPT"].forward(
            self, input_ids, position_ids
        )
    )
    with pytest.raises(ExportError, match="does not call the attention"):
        load_module(model, tokenizer)


def test_positions_that_are_not_used_are_noticed(with_forward, page, tokenizer):
    model = with_forward(
        lambda self, input_ids, position_ids=None, attention=None: page["MyGPT"].forward(
            self, input_ids, None, attention
        )
    )
    with pytest.raises(ExportError, match="computes other logits by itself"):
        load_module(model, tokenizer)


@pytest.mark.parametrize("option", [{"scale": 1.0}, {"window": 20}, {"softcap": 2.0}])
def test_an_option_of_attention_that_the_module_does_not_have_is_noticed(
    with_forward, page, tokenizer, option
):
    def forward(self, input_ids, position_ids=None, attention=None):
        given = attention and (lambda *heads: attention(*heads, **option))
        return page["MyGPT"].forward(self, input_ids, position_ids, given)

    with pytest.raises(ExportError, match="computes other logits by itself"):
        load_module(with_forward(forward), tokenizer)


def test_a_module_that_returns_something_else_is_refused(with_forward, page, tokenizer):
    def forward(self, *given, **named):
        return page["MyGPT"].forward(self, *given, **named)[:, -1]

    forward.__signature__ = inspect.signature(page["MyGPT"].forward)
    with pytest.raises(ExportError, match=r"must return logits \[B, S, V\]"):
        load_module(with_forward(forward), tokenizer)


def test_a_module_whose_forward_fails_is_refused_with_its_reason(with_forward, tokenizer):
    def forward(self, input_ids, position_ids=None, attention=None):
        raise KeyError("no such thing")

    with pytest.raises(ExportError, match=r"cannot be run with an attention from outside.*no such thing"):
        load_module(with_forward(forward), tokenizer)


def test_what_only_looks_like_llmbuilders_gpt_is_refused(tokenizer):
    with pytest.raises(ExportError, match="computes other logits"):
        load_module(GPTModel(scale=0.5), tokenizer)


def test_a_model_without_an_output_layer_is_refused(tokenizer):
    with pytest.raises(ExportError, match="no output layer"):
        load_module(GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=VOCABULARY)), tokenizer)


def test_weights_that_are_not_there_are_refused(page, tokenizer):
    with torch.device("meta"):
        model = page["MyGPT"](vocabulary=VOCABULARY, context_length=48)
    with pytest.raises(ExportError, match=r"tokens\.weight on no device"):
        load_module(model, tokenizer)


def test_weights_that_are_no_numbers_are_refused(my_gpt, tokenizer, tmp_path):
    with torch.no_grad():
        my_gpt.head.weight[3, 3] = float("nan")
    with pytest.raises(ExportError, match="NaN"):
        export_model(my_gpt, tokenizer, tmp_path / "bundle", progress=quiet)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("given", [{}, {"tokenizer": "tokenizer"}, {"output": "bundle"}])
def test_a_tokenizer_and_a_place_are_needed(my_gpt, given):
    with pytest.raises(ExportError, match=r"MyGPT is a module in memory.*Pass its tokenizer"):
        export_model(my_gpt, progress=quiet, **given)


def test_adapters_are_for_models_of_transformers(my_gpt, tokenizer, tmp_path):
    with pytest.raises(ExportError, match="is no model of transformers"):
        export_model(my_gpt, tokenizer, tmp_path / "bundle", adapter=tmp_path, progress=quiet)


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_is_merged_into_a_copy_of_a_model_of_transformers(case, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(base_of(case), dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    source = load_module(model, tokenizer, adapter=FOLDER / case)
    expected = load_file(FOLDER / case / "expected.safetensors")["logits"]
    torch.testing.assert_close(source.network.reference(IDS)[0], expected, atol=2e-5, rtol=1e-4)
    assert source.facts.adapter == case
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
