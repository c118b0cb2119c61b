"""What cannot be exported is refused by its family, what of it bundles have no way to do, and what to do instead."""

import json

import families
import pytest
import torch

from llmbuilder.errors import ExportError, TokenizerError
from llmbuilder_export import export_model, pipeline
from llmbuilder_export.networks.refusals import in_a_sentence
from llmbuilder_export.sources import load_source

ADVICE = "Export a model of another family"
REFUSED = {
    "axk2": "its code does not run with the attention of a bundle",
    "bert": "reads a text in both directions",
    "diffllama": "do not each attend once, in order",
    "doge": "a mask or biases",
    "falcon_h1": "keeps a state",
    "jamba": "keeps a state",
    "lfm2_moe": "keeps a state",
    "mamba": "keeps a state",
    "bart": "an encoder",
    "inkling2_text": "keeps a state of the text in 2 of its 2 layers",
    "minimax_m3_vl_text": "only those with a gate",
    "openai-gpt": "code of its own",
    "prophetnet": "an encoder",
    "rwkv": "keeps a state",
    "xmod": "does not run",
}


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_families_are_refused_by_name_with_a_reason_before_anything_is_asked(name, reason, tmp_path):
    families.save_family(name, tmp_path / "model")
    with pytest.raises(ExportError) as refused:
        load_source(tmp_path / "model")
    message = str(refused.value)
    assert message.startswith(f"{name} cannot be exported: ")
    assert reason in message
    assert ADVICE in message
    assert not families.FOREIGN_WORDS.search(message)


def test_what_cannot_be_written_as_a_graph_is_said_without_names_of_nodes(tmp_path, byte_bpe_file):
    families.save_family("llama4_text", tmp_path / "model")
    with pytest.raises(ExportError, match=r"llama4_text cannot be exported: .* graph") as refused:
        export_model(tmp_path / "model", byte_bpe_file, tmp_path / "bundle", progress=lambda _: None)
    assert ADVICE in str(refused.value)
    assert not families.FOREIGN_WORDS.search(str(refused.value))


@pytest.mark.parametrize("stage", ["fuse", "quantize", "record"])
def test_a_stage_that_fails_in_whatever_way_names_the_family(stage, tmp_path, byte_bpe_file, monkeypatch):
    def fail(*_, **__):
        raise KeyError("val_17")

    families.save_family("llama", tmp_path / "model")
    monkeypatch.setattr(pipeline, stage, fail)
    with pytest.raises(ExportError, match=f"^llama cannot be exported: .*{ADVICE}") as refused:
        export_model(tmp_path / "model", byte_bpe_file, tmp_path / "bundle", progress=lambda _: None)
    assert "val_17" not in str(refused.value)
    assert isinstance(refused.value.__cause__, KeyError)


def test_memory_that_is_missing_is_said_as_such():
    with (
        pytest.raises(ExportError, match="not enough memory") as refused,
        in_a_sentence("llama", "it is odd"),
    ):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
    assert "Allocator" not in str(refused.value)


@pytest.mark.parametrize(
    "error", [TokenizerError("ours"), OSError(28, "No space left on device"), MemoryError()]
)
def test_errors_that_say_what_is_wrong_stay(error):
    with pytest.raises(type(error)) as raised, in_a_sentence("llama", "it is odd"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "no_such_model"}, "the family no_such_model, which transformers .* does not know"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "m.C"}}, "mine.* code of its own, which no export runs"),
        ({"model_type": "t5"}, "^t5 cannot be exported: .* an encoder"),
        ({"model_type": "vit"}, "^vit cannot be exported: it is no language model"),
    ],
)  # fmt: skip
def test_configurations_of_other_things_are_refused_by_name(content, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ExportError, match=message) as refused:
        load_source(tmp_path)
    assert not families.FOREIGN_WORDS.search(str(refused.value))


def test_a_hybrid_family_whose_layers_all_attend_is_none(tmp_path):
    """As IBM's Granite 4.0 Micro is."""
    families.save_family("granitemoehybrid+attention", tmp_path)
    assert load_source(tmp_path).network.facts.num_layers == 2


def test_a_model_of_random_weights_is_not_taken_for_one_that_looks_ahead(tmp_path):
    families.save_family("qwen3_moe", tmp_path)
    torch.manual_seed(0)
    assert load_source(tmp_path).network.facts.architecture == "qwen3_moe"
