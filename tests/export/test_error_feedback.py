"""Errors of rounding to 4 bits that later weights make up for: never worse than rounding each block by itself."""

from itertools import pairwise

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import WIDTH, WINDOW
from test_quantize_blocks import decoded, random_weight

from llmbuilder.errors import ExportError
from llmbuilder_export import pipeline
from llmbuilder_export.fuse import fuse
from llmbuilder_export.quantize.blocks import search
from llmbuilder_export.quantize.calibrate import second_moments, written
from llmbuilder_export.quantize.feedback import search_with_feedback
from llmbuilder_export.quantize.jobs import in_groups, jobs_of
from llmbuilder_export.quantize.layers import find_linears
from llmbuilder_export.quantize.weights import quantize
from llmbuilder_export.sources import load_source


def moments_of(rows):
    return rows.T @ rows / np.float32(len(rows))


def inputs(count, width, seed=0, rank=4):
    """Rows whose features go together: ``rank`` of them in common, and a little of their own."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((count, rank)) @ random.standard_normal((rank, width))
    return (common + 0.3 * random.standard_normal((count, width))).astype(np.float32)


def errors(weight, blocks, moments):
    """Mean squared error of each output, in float64."""
    change = decoded(blocks, weight.shape[1]).astype(np.float64) - weight
    return np.einsum("nk,kj,nj->n", change, moments.astype(np.float64), change)


def assert_no_worse(weight, moments):
    before = errors(weight, search(weight, 4, np.diagonal(moments)), moments)
    after = errors(weight, search_with_feedback(weight, moments), moments)
    assert (after <= before * 1.001 + 1e-6).all()
    return before.sum(), after.sum()


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 100), st.integers(1, 200), st.integers(0, 99))
def test_no_output_has_a_larger_error_than_without_feedback(outputs, width, count, seed):
    assert_no_worse(random_weight(outputs, width, seed), moments_of(inputs(count, width, seed)))


def test_inputs_that_go_together_make_up_for_most_of_the_error():
    before, after = assert_no_worse(random_weight(64, 128), moments_of(inputs(1000, 128)))
    assert after < 0.5 * before


def test_fewer_tokens_than_inputs_still_help_on_text_that_was_not_measured():
    weight, seen, new = random_weight(64, 128), inputs(2064, 128)[:64], inputs(2064, 128)[64:]
    measured, true = moments_of(seen), moments_of(new)
    before = errors(weight, search(weight, 4, np.diagonal(measured)), true).sum()
    assert errors(weight, search_with_feedback(weight, measured), true).sum() < before


def test_inputs_that_are_never_driven_do_no_harm():
    rows = inputs(300, 96)
    rows[:, [0, 5, *range(32, 64)]] = 0
    weight = random_weight(8, 96)
    assert_no_worse(weight, moments_of(rows))
    assert np.isfinite(decoded(search_with_feedback(weight, moments_of(rows)), 96)).all()


def test_without_any_inputs_the_codes_are_those_of_the_search():
    weight = random_weight(8, 96)
    found = search_with_feedback(weight, np.zeros((96, 96), np.float32))
    same = zip(_parts(found), _parts(search(weight, 4)), strict=True)
    assert all(np.array_equal(mine, its) for mine, its in same)


def test_codes_are_the_same_each_time():
    weight, moments = random_weight(6, 70), moments_of(inputs(50, 70))
    first, again = (_parts(search_with_feedback(weight, moments)) for _ in range(2))
    assert all(np.array_equal(mine, its) for mine, its in zip(first, again, strict=True))


def test_a_weight_that_is_not_finite_is_refused():
    weight = random_weight(2, 32)
    weight[1, 3] = np.nan
    with pytest.raises(ExportError, match="infinities or NaN"):
        search_with_feedback(weight, moments_of(inputs(50, 32)))


@pytest.fixture(scope="module")
def traced(checkpoint):
    model = pipeline.trace(load_source(checkpoint).network)
    fuse(model)
    return model


def test_second_moments_are_those_of_all_tokens_and_symmetric(traced):
    name = find_linears(traced.graph)[0].source.name
    text = written(traced, 3, 5)
    (all_rows,) = second_moments(traced, [name], text).values()
    each = [second_moments(traced, [name], row[None])[name] for row in text]
    assert text.shape == (3, 5)
    assert all_rows.shape == (WIDTH, WIDTH)
    np.testing.assert_allclose(all_rows, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(all_rows, all_rows.T, rtol=1e-5, atol=1e-7)


def test_text_is_the_same_each_time(traced):
    assert np.array_equal(written(traced, 3, 5), written(traced, 3, 5))


def test_moments_are_measured_for_as_many_layers_as_fit(traced):
    jobs = jobs_of(find_linears(traced.graph), None)
    one = 4 * WIDTH**2
    for most in (1, 2 * one, 1 << 40):
        groups = list(in_groups(jobs, most))
        assert [job for group in groups for job in group] == jobs
        for group in groups:
            sizes = {job.source: 4 * job.linears[0].shape[1] ** 2 for job in group}
            assert len(sizes) == 1 or sum(sizes.values()) <= most
        assert all(before[-1].source != after[0].source for before, after in pairwise(groups))
    assert len(list(in_groups(jobs, 1 << 40))) == 1


def test_an_export_writes_the_same_codes_each_time(traced):
    models = [quantize(traced.clone(), "int4", lambda _: None, WINDOW) for _ in range(2)]
    first, again = (weights_of(model) for model in models)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def weights_of(model: ir.Model):
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


def _parts(blocks):
    return blocks.codes, blocks.scales, blocks.zero_points
