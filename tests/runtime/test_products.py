"""Signed weights are made unsigned where ONNX Runtime's sums would overflow, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine import products
from llmbuilder.engine.model import Model

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"


@pytest.mark.parametrize("overflow", [False, True])
@pytest.mark.parametrize("quantization", ["int8", "w8a8"])
def test_weights_are_widened_where_they_would_overflow(monkeypatch, overflow, quantization):
    asked = []
    monkeypatch.setattr("llmbuilder.engine.products.sums_overflow", lambda: overflow)
    monkeypatch.setattr("llmbuilder.engine.session.widen_weights", asked.append)
    bundle = open_bundle(DEMO)
    Model.open(DEMO, replace(bundle.manifest, quantization=quantization))
    assert len(asked) == (overflow and quantization == "w8a8")


@pytest.mark.parametrize("overflow", [False, True])
def test_sums_are_exact_once_widened(monkeypatch, overflow):
    """Clipped to 16 bits, as some processors add them, until they are widened."""
    exact = products._multiplied

    def multiplied(codes, weight, *, widened):
        sums = exact(codes, weight, widened=widened)
        return sums.clip(max=32767) if overflow and not widened else sums

    monkeypatch.setattr(products, "_multiplied", multiplied)
    products.sums_overflow.cache_clear()
    try:
        assert products.sums_overflow() == overflow
        assert products.products_differ() == 0
    finally:
        products.sums_overflow.cache_clear()
