"""What is measured after an export, and what is done about it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmbuilder.bundle.reading import read_manifest
from llmbuilder.errors import ExportError
from llmbuilder_export.judge import judge
from llmbuilder_export.sources import load_source
from llmbuilder_export.verify import _divergence, compare, record


@pytest.fixture(scope="module")
def network(checkpoint):
    return load_source(checkpoint).network


@pytest.fixture
def manifest(report):
    return read_manifest(report.path / "manifest.json")


def test_sequences_have_different_lengths_within_the_window_and_start_with_the_texts(network):
    window = network.facts.context_length
    reference = record(network, [[5, 6, 7], [8]], vocab_size=20)
    lengths = [len(ids) for ids in reference.sequences]
    assert len(set(lengths)) == 3
    assert max(lengths) <= window
    assert reference.sequences[0][:3] == [5, 6, 7]
    assert reference.sequences[1][:1] == [8]
    assert all(0 <= i < 20 for ids in reference.sequences for i in ids)


def test_the_reference_is_the_networks_own(network):
    reference = record(network, [], vocab_size=20)
    ids, logits = reference.sequences[2], reference.logits[2]
    np.testing.assert_array_equal(logits, network.reference(torch.tensor([ids]))[0].numpy())
    assert reference.greedy[0] == reference.logits[0][len(reference.prompt) - 1].argmax()


def test_a_bundle_of_other_weights_is_found_out(network, report, manifest):
    with torch.no_grad():
        changed = record(network, [], vocab_size=20)
    changed.logits[1][3] += 0.01
    with pytest.raises(ExportError, match="does not compute what the model does"):
        compare(report.path, manifest, changed)


def test_a_graph_that_cannot_run_is_an_export_error(network, report, manifest, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x00")
    with pytest.raises(Exception, match="cannot"):
        compare(tmp_path, manifest, record(network, [], vocab_size=20))


@pytest.fixture
def judged(manifest):
    """Judge a bundle whose largest logit is 400."""

    def judge_changed(changes, **measured):
        measured = {"max_logit_difference_prefill": 0.0, "mean_kl_divergence": 0.0} | measured
        judge(measured, 400.0, replace(manifest, **changes))

    return judge_changed


EXACT, QUANTIZED = {"quantization": "none"}, {"quantization": "int8"}
HALF = {"quantization": "none", "device": "cuda", "kv_cache": "float16"}


def test_large_logits_may_differ_in_their_last_digits(judged):
    judged(EXACT, max_logit_difference_prefill=3e-3)
    with pytest.raises(ExportError, match=r"differ by 0\.005"):
        judged(EXACT, max_logit_difference_prefill=5e-3)


def test_half_precision_may_differ_by_a_share_of_the_largest_logit(judged):
    judged(HALF, max_logit_difference_prefill=19.0, mean_kl_divergence=5e-4)
    with pytest.raises(ExportError, match=r"differ by 21, allowed are 20.*Export it for cpu"):
        judged(HALF, max_logit_difference_prefill=21.0)
    with pytest.raises(ExportError, match=r"divergence is 0\.002 nats.*Export it for cpu"):
        judged(HALF, mean_kl_divergence=2e-3)


def test_quantized_bundles_fail_only_when_they_are_nonsense(judged):
    judged(QUANTIZED, max_logit_difference_prefill=3.0, mean_kl_divergence=0.4)
    for nonsense in (9.0, float("nan")):
        with pytest.raises(ExportError, match="Quantization destroyed"):
            judged(QUANTIZED, mean_kl_divergence=nonsense)


@pytest.mark.parametrize("changes", [EXACT, QUANTIZED])
def test_not_a_number_is_never_accepted(judged, changes):
    with pytest.raises(ExportError):
        judged(changes, max_logit_difference_steps=float("nan"))


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_what_half_precision_cannot_hold_is_to_be_exported_for_the_cpu(judged, quantization):
    with pytest.raises(ExportError, match=r"gpt cannot be exported for cuda.*beyond 65504.*--device cpu"):
        judged(HALF | {"quantization": quantization}, max_logit_difference_steps=float("inf"))


def test_divergence_of_a_known_pair():
    """KL of (1/2, 1/2) to (1/4, 3/4) is ln 2 - ln 3 / 2."""
    p, q = np.log([[0.5, 0.5]]).astype(np.float32), np.log([[0.25, 0.75]]).astype(np.float32)
    np.testing.assert_allclose(_divergence(p, q), np.log(2) - np.log(3) / 2, rtol=1e-6)
