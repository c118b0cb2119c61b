"""What an export checks even with ``verify=False``: that the bundle runs, and computes what the model does."""

import pytest
import torch
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError
from llmbuilder_export import export_model, pipeline
from llmbuilder_export.networks.gpt import GPT


@pytest.fixture
def export(tmp_path, byte_bpe_file):
    def run(kind=None, source=None, **options):
        if kind is not None:
            source = tmp_path / kind
            save_model(source, kind, **options.pop("model", {}))
        options = {"quantization": "none", "verify": False, "progress": lambda _: None} | options
        return export_model(source, byte_bpe_file, tmp_path / "bundle", **options)

    yield run
    assert not list(tmp_path.glob(".bundle*"))


ATTENTION_FIRST = {"num_hidden_layers": 3, "layer_types": ["full_attention", "full_attention", "conv"]}


def test_layers_that_do_not_attend_are_found(export):
    """Its last layer keeps a state that is no attention, which a bundle would forget after each step."""
    with pytest.raises(ExportError, match="a state of the text in 1 of its 3 layers"):
        export("lfm2", model=ATTENTION_FIRST)


def test_a_model_that_looks_ahead_is_found(export, checkpoint, tmp_path, monkeypatch):
    """A graph whose attention is causal cannot compute what such a model does."""
    original = GPT.reference

    def ahead(network, ids):
        return original(network, ids.flip(1)).flip(1)

    monkeypatch.setattr(GPT, "reference", ahead)
    with pytest.raises(ExportError, match="does not compute what the model does"):
        export(source=checkpoint)
    assert not (tmp_path / "bundle").exists()


def test_quantized_nonsense_is_found(export, checkpoint, monkeypatch):
    def destroy(model, *arguments):
        quantized = quantize(model, *arguments)
        for value in quantized.graph.initializers.values():
            if value.name.endswith("scales") or "scale" in value.name:
                value.const_value = type(value.const_value)(value.const_value.numpy() * 1e4, name=value.name)
        return quantized

    quantize = pipeline.quantize
    monkeypatch.setattr(pipeline, "quantize", destroy)
    with pytest.raises(ExportError, match="Quantization destroyed"):
        export(source=checkpoint, quantization="int8")


@pytest.mark.parametrize("window", [2, pytest.param(5, marks=pytest.mark.prove)])
def test_a_window_shorter_than_the_check_is_no_hindrance(export, checkpoint, window):
    assert export(source=checkpoint, max_context=window).manifest.model.context_length == window


def test_only_what_takes_time_is_left_out(export, checkpoint, monkeypatch):
    lengths = []
    original = GPT.reference

    def counted(network, ids):
        lengths.append(ids.numel())
        return original(network, ids)

    monkeypatch.setattr(GPT, "reference", counted)
    report = export(source=checkpoint)
    assert lengths == [8]
    assert report.manifest.verification == {}
    assert {"check", "verify"} & set(report.seconds) == {"check"}
    with torch.inference_mode():
        assert report.path.is_dir()
