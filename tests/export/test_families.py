"""Every family that exports makes graphs that the check lets in; a sample in every run, all of them as a proof."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import families
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.manifest import GRAPH_NAME, WEIGHTS_NAME, Manifest, Quantization
from llmbuilder.bundle.operators import OPERATORS
from llmbuilder.engine.model import Model
from llmbuilder.errors import ExportError, LLMBuilderError
from llmbuilder_export.cache import cache_in_int8, refuse_unfit
from llmbuilder_export.cuda import for_cuda
from llmbuilder_export.fuse import fuse
from llmbuilder_export.graph import optional
from llmbuilder_export.networks.attention import SINKS_INPUT
from llmbuilder_export.operators import refuse_unknown
from llmbuilder_export.quantize.weights import quantize
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.tokenizer import load_tokenizer_source
from llmbuilder_export.trace import trace
from llmbuilder_export.verify import compare, record
from llmbuilder_export.write import created_by, write_files

SAMPLE = ("gemma2+caps",)
CACHES = {"cpu": "float32", "cuda": "float16"}
CLOSE = 1e-3
"""Of logits by chunk and by steps; a number that is rounded to another code is a rare exception."""
MOST_NODES = 256
"""Of each layer, and outside of layers: what the check allows."""


def export(name: str, folder: Path, tokenizer: Path) -> Iterator[tuple[Manifest, Path]]:
    """Export ``folder / "model"`` in every way, from one trace; it must compute what PyTorch does."""
    source = load_source(folder / "model", max_context=families.WINDOW)
    words = load_tokenizer_source(tokenizer, folder / "model", source.network.facts.vocab_size)
    reference = record(source.network, [ids for _, ids in words.facts.golden], 300, short=True)
    traced = trace(source.network)
    fuse(traced)
    for mode in get_args(Quantization):
        model = quantize(traced.clone(), mode, lambda _: None, source.network.facts.context_length)
        for device, cache in CACHES.items():
            if (mode, device) == ("w8a8", "cuda"):
                continue  # refused before any work
            if device == "cuda" and is_untried(model):
                with pytest.raises(ExportError, match="nobody has tried on a card"):
                    for_cuda(model, name)
                continue
            if device == "cuda":
                for_cuda(model, name)
            refuse_unknown(model, name)
            bundle = folder / device / mode
            bundle.mkdir(parents=True)
            files = write_files(bundle, model, words, None, folder / "model")
            manifest = Manifest(
                model=source.network.facts, tokenizer=words.facts, source=source.facts, files=files,
                generation={}, chat=None, created_by=created_by(), quantization=mode, device=device, kv_cache=cache,
            )  # fmt: skip
            if mode == "none":
                compare(bundle, manifest, reference)
            yield manifest, bundle
    yield from export_with_int8_cache(traced, source, words, folder)


def export_with_int8_cache(traced, source, words, folder):
    """The same with a cache in int8, where the family can have one; a chunk must be what its steps are."""
    facts = source.network.facts
    try:
        refuse_unfit(source.network)
    except ExportError:
        return
    cache_in_int8(traced, facts, lambda _: None)
    refuse_unknown(traced, facts.architecture)
    bundle = folder / "int8-cache"
    bundle.mkdir()
    files = write_files(bundle, traced, words, None, folder / "model")
    manifest = Manifest(
        model=facts, tokenizer=words.facts, source=source.facts, files=files, generation={}, chat=None,
        created_by=created_by(), quantization="none", device="cpu", kv_cache="int8",
    )  # fmt: skip
    check_chunk_equals_steps(Model.open(bundle, manifest))
    yield manifest, bundle


def check_chunk_equals_steps(model):
    """Beyond the window of layers that have one; they round differently, and see the same codes."""
    ids = list(range(5, 5 + min(90, model.facts.context_length)))
    whole = model.decoder().prefill(0, ids, keep=len(ids) - 2)
    decoder = model.decoder()
    steps = [decoder.prefill(0, ids[:3])[-1], *(np.array(decoder.step([token]))[0] for token in ids[3:])]
    difference = np.abs(np.stack(steps) - whole)
    assert np.median(difference.max(axis=-1)) < CLOSE * max(1, np.abs(whole).max())


def is_untried(model: ir.Model) -> bool:
    """Whether a graph has experts, or attention with sinks."""
    return any(
        node.op_type in ("MoE", "QMoE")
        or (node.op_type == "GroupQueryAttention" and optional(node, SINKS_INPUT))
        for node in model.graph
    )


def in_sample_or_proof(name):
    return pytest.param(name, marks=() if name in SAMPLE else pytest.mark.prove)


@pytest.mark.parametrize("name", [in_sample_or_proof(name) for name in families.EXPORTED])
def test_graphs_of_every_family_pass_the_check(name, tmp_path, byte_bpe_file, record_proof):
    families.save_family(name, tmp_path / "model")
    nodes = {}
    for manifest, folder in export(name, tmp_path, byte_bpe_file):
        check_graph(folder / GRAPH_NAME, manifest.model, manifest.files[WEIGHTS_NAME].size)
        graph = onnx.load(folder / GRAPH_NAME, load_external_data=False).graph
        assert {(node.domain, node.op_type) for node in graph.node} <= OPERATORS.keys()
        nodes[f"{manifest.device} {manifest.quantization} {manifest.kv_cache}"] = len(graph.node)
    layers = manifest.model.num_layers
    assert max(nodes.values()) <= MOST_NODES * (layers + 1)
    record_proof(name, layers=layers, nodes=nodes)


@pytest.mark.prove
@pytest.mark.parametrize("name", sorted({*families.KINDS} - {*families.EXPORTED}))
def test_families_that_cannot_be_exported_say_so_in_our_words(name, tmp_path, byte_bpe_file, record_proof):
    try:
        families.save_family(name, tmp_path / "model")
    except Exception as error:  # noqa: BLE001 (transformers' own, of many kinds)
        pytest.skip(f"there is no tiny model of it: {error}")
    with pytest.raises(LLMBuilderError) as refused:
        list(export(name, tmp_path, byte_bpe_file))
    message = str(refused.value)
    kind = families.configure(name).model_type
    assert message.startswith(f"{kind} cannot be exported: ")
    assert not families.FOREIGN_WORDS.search(message)
    record_proof(name, refused=message.partition(". Export ")[0])
