"""Query heads in groups that cards know: zeros are added, and the numbers stay what they were."""

import shutil

import families
import numpy as np
import onnx
import pytest

from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.model import Model
from llmbuilder_export import export_model


@pytest.fixture
def exported(tmp_path, byte_bpe_file):
    """Export a small network for a device, as a bundle."""

    def export(family, count=6, key_heads=2, head_size=64, device="cuda", quantization="none"):
        source = tmp_path / "source"
        if not source.exists():
            sizes = {"num_attention_heads": count, "num_key_value_heads": key_heads}
            families.save_family(family, source, hidden_size=16 * count, head_dim=head_size, **sizes)
            shutil.copy(byte_bpe_file, source / "tokenizer.json")
        output = tmp_path / f"{device}-{quantization}"
        quiet = {"output": output, "max_context": families.WINDOW, "progress": lambda _: None}
        report = export_model(source, device=device, quantization=quantization, **quiet)
        return open_bundle(report.path)

    return export


def heads(bundle):
    """Query heads of all attentions."""
    graph = onnx.load(bundle.directory / "model.onnx", load_external_data=False).graph
    attentions = [node for node in graph.node if node.op_type == "GroupQueryAttention"]
    return {a.i for node in attentions for a in node.attribute if a.name == "num_heads"}


def logits(bundle, ids):
    model = Model.open(bundle.directory, bundle.manifest, device="cpu")
    return model.decoder().prefill(0, ids, keep=len(ids))


LONG = pytest.mark.prove


@pytest.mark.parametrize(
    ("family", "count", "key_heads", "filled"), [("llama", 3, 1, 4), ("qwen2", 14, 2, 16)]
)
def test_groups_grow_and_the_numbers_stay(exported, family, count, key_heads, filled):
    ids = list(range(3, 43))
    exact, half = (exported(family, count, key_heads, device=device) for device in ("cpu", "cuda"))
    assert (heads(exact), heads(half)) == ({count}, {filled})
    assert half.manifest.model == exact.manifest.model
    numbers = logits(exact, ids)
    assert np.abs(logits(half, ids) - numbers).max() < 0.01 * np.abs(numbers).max()


@pytest.mark.parametrize(
    ("family", "count", "key_heads", "head_size"),
    [
        ("llama", 6, 2, 32),
        pytest.param("llama", 15, 3, 64, marks=LONG),  # which is known
        pytest.param("llama", 9, 1, 64, marks=LONG),  # the next is far
        pytest.param("qwen3", 6, 2, 64, marks=LONG),  # norms queries before it rotates them
        pytest.param("gemma2", 6, 2, 64, marks=LONG),  # caps scores
    ],
)
def test_other_groups_stay(exported, family, count, key_heads, head_size):
    assert heads(exported(family, count, key_heads, head_size)) == {count}


@pytest.mark.parametrize(("quantization", "bound"), [pytest.param("int8", 1e-3, marks=LONG), ("int4", 3e-2)])
def test_they_can_be_quantized(exported, quantization, bound):
    bundle = exported("qwen2", quantization=quantization)
    assert heads(bundle) == {8}
    assert bundle.manifest.verification["mean_kl_divergence"] < bound
