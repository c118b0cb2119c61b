"""Heads of which a part is rotated whose size ONNX Runtime's attention does not take."""

import pytest
from test_huggingface_source import save_model

from llmbuilder_export import export_model

ONE_LAYER = {"num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt_neox", {"hidden_size": 160, "num_attention_heads": 2, "head_dim": None}),
        pytest.param("nemotron", {"head_dim": 8}, marks=pytest.mark.prove),
    ],
)
def test_heads_rotated_in_part_are_exported_whatever_their_size(kind, options, tmp_path, byte_bpe_file):
    save_model(tmp_path / "model", kind, **ONE_LAYER, **options)
    report = export_model(
        tmp_path / "model", byte_bpe_file, quantization="none", progress=lambda _: None
    )  # compares with PyTorch
    assert report.manifest.verification["max_logit_difference_steps"] < 1e-3
