"""The export as one function: load, trace, quantize, write, verify, publish."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import onnx_ir as ir
from torch import nn

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.manifest import (
    GRAPH_NAME,
    WEIGHTS_NAME,
    CacheType,
    Manifest,
    Quantization,
    Target,
)
from llmbuilder.bundle.resolve import default_output
from llmbuilder.checks import StrPath
from llmbuilder.engine.installation import check_installation
from llmbuilder.showing import write_aside
from llmbuilder_export.cache import cache_in_int8, refuse_unfit
from llmbuilder_export.choices import check_options, place_of
from llmbuilder_export.cuda import fill_groups, for_cuda
from llmbuilder_export.fuse import fuse
from llmbuilder_export.networks.network import Source
from llmbuilder_export.networks.refusals import in_a_sentence
from llmbuilder_export.operators import refuse_unknown
from llmbuilder_export.quantize.weights import keep_blocks, quantize
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.chat import chat_facts
from llmbuilder_export.sources.tokenizer import TokenizerSource, load_tokenizer_source
from llmbuilder_export.sources.vocabularies import converted
from llmbuilder_export.staging import named, refuse_unusable, staged
from llmbuilder_export.trace import trace
from llmbuilder_export.tracking import Advance, nobody, told_to
from llmbuilder_export.verify import Reference, compare, record
from llmbuilder_export.write import created_by, write_files, write_manifest

Progress = Callable[[str], None]

_RUNNING = "its code does not run as it is"
_REWRITING = "its graph is of a form that cannot be rewritten as bundles need it"


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export made and measured.

    ``manifest.verification`` holds the measured differences from PyTorch.
    """

    path: Path
    """The bundle's directory."""
    weights_bytes: int
    """Size of the model's weights in float32."""
    bundle_bytes: int
    """Size of the bundle's files."""
    seconds: Mapping[str, float]
    """Time of each stage."""
    manifest: Manifest


@dataclass
class _Stages:
    """Times the stages of an export and tells of each when it begins and when it is done."""

    progress: Progress
    advance: Advance = nobody
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress(f"{name} ...")
        start = time.perf_counter()
        with told_to(self.advance):
            yield
        self.seconds[name] = time.perf_counter() - start
        self.progress(f"{name}: {self.seconds[name]:.1f} s")


def to_stderr(line: str) -> None:
    """Write a line of progress."""
    write_aside(f"{line}\n")


def export_model(  # noqa: PLR0913 (the public signature)
    source: StrPath | nn.Module,
    tokenizer: StrPath | None = None,
    output: StrPath | None = None,
    *,
    quantization: Quantization | None = None,
    kv_cache: Literal["float32", "int8"] = "float32",
    device: Target = "cpu",
    adapter: StrPath | None = None,
    max_context: int | None = None,
    verify: bool = True,
    overwrite: bool = False,
    config: StrPath | None = None,
    progress: Progress = to_stderr,
    advance: Advance = nobody,
) -> ExportReport:
    """Export a model as a bundle.

    Args:
        source: an LLMBuilder checkpoint file, a Hugging Face model directory, or a GGUF file; or a module in memory,
            which stays as it is: of transformers, LLMBuilder's GPT, or any that follows `networks.protocol`.
        tokenizer: tokenizer file or a directory holding one; None looks where the model lies, and in a GGUF file. A
            module needs one, and takes the chat template from its directory.
        output: the bundle's directory, which a module needs; None puts it beside the source, or beside the adapter if
            there is one: ``model.pt`` -> ``model-onnx``.
        quantization: weights as they are (``none``), ``int8``, ``int4``, or ``w8a8`` for cpu, which rounds inputs as
            well and is faster with many rows or tokens at once; None is ``int8`` for cpu and ``none`` for cuda, where
            fewer bits save memory, not time. For cpu, None keeps the blocks of a GGUF file in Q8_0 or Q4_0.
        kv_cache: type of cached keys and values; for cuda ``float32`` means float16. ``int8``, for cpu, takes a quarter
            of the memory, and steps at long contexts are faster.
        device: where the bundle will run; for ``cuda`` it computes in float16.
        adapter: directory of a LoRA adapter, as PEFT saves it, that was trained on ``source``; it is merged.
        max_context: most tokens of the window, at least 2; None: all the model has.
        verify: compare the bundle with PyTorch at length and keep what was measured. Eight tokens are compared in any
            case.
        overwrite: replace a bundle that is already there.
        config: JSON file with the model's configuration, for checkpoints that hold none.
        progress: called with a line when a stage begins, and one when it is done.
        advance: called within the stages that are long with what is counted there (``weights``), how many are done, and
            how many there are: first with 0, last with all. It starts anew with each thing that is counted.

    Raises:
        ModelNotFoundError: there is nothing at ``source`` or ``adapter``.
        TokenizerError: no tokenizer, or one that does not fit the model.
        DeviceError: ONNX Runtime, which the bundle is tried with, is not properly installed.
        ExportError: anything else that keeps the model from being exported. Nothing is left behind.
    """
    where = place_of(source, tokenizer, output, adapter, config)
    target = Path(output) if output is not None else default_output(_path(adapter) or where)
    asked, quantization = quantization, quantization or ("int8" if device == "cpu" else "none")
    check_options(quantization, kv_cache, device, max_context)
    refuse_unusable(target, overwrite=overwrite)
    check_installation()
    stage = _Stages(progress, advance)
    load = partial(_load, kv_cache, source, _path(tokenizer), _path(config), max_context, _path(adapter))
    traced = _trace(load, where, _path(tokenizer), stage, verify=verify)
    family = traced.draft.model.architecture
    with stage("quantize"), in_a_sentence(family, _REWRITING):
        if device == "cuda":
            fill_groups(traced.model.graph)
        if asked is None and device == "cpu" and traced.stored_bits is not None:
            quantization = "int4" if traced.stored_bits == 4 else "int8"
            model = keep_blocks(traced.model, traced.stored_bits, progress)
        else:
            model = quantize(traced.model, quantization, progress, traced.draft.model.context_length)
        if kv_cache == "int8":
            cache_in_int8(model, traced.draft.model, progress)
        if device == "cuda":
            for_cuda(model, family)
        refuse_unknown(model, family)
    with staged(target, overwrite=overwrite) as folder:
        with stage("write"):
            files = write_files(folder, model, traced.tokenizer, traced.chat_template, where)
            check_graph(folder / GRAPH_NAME, traced.draft.model, files[WEIGHTS_NAME].size)
        manifest = replace(
            traced.draft,
            files=files,
            quantization=quantization,
            device=device,
            kv_cache=_cache_type(kv_cache, device),
        )
        _release_weights(model, traced.model)
        with stage("verify" if verify else "check"):
            measured = compare(folder, manifest, traced.reference)
        if verify:
            manifest = replace(manifest, verification=measured)
        write_manifest(folder, manifest)
    return ExportReport(
        path=target,
        weights_bytes=4 * manifest.model.parameters,
        bundle_bytes=sum(entry.size for entry in files.values()),
        seconds=stage.seconds,
        manifest=manifest,
    )


@dataclass(frozen=True)
class _Traced:
    """A traced model, its manifest so far, and what the bundle needs besides; the PyTorch network is gone."""

    model: ir.Model
    draft: Manifest
    tokenizer: TokenizerSource
    chat_template: str | None
    reference: Reference
    stored_bits: Literal[4, 8] | None


def _load(
    kv_cache: str,
    given: StrPath | nn.Module,
    tokenizer: Path | None,
    config: Path | None,
    max_context: int | None,
    adapter: Path | None,
) -> Source:
    if isinstance(given, nn.Module):
        from llmbuilder_export.sources.modules import load_module

        assert tokenizer is not None  # noqa: S101 (`place_of` saw to it)
        source = load_module(given, tokenizer, max_context, adapter)
    else:
        source = load_source(Path(given), config, max_context, adapter)
    if kv_cache == "int8":
        refuse_unfit(source.network)
    return source


def _trace(
    load: Callable[[], Source],
    path: Path,
    tokenizer: Path | None,
    stage: _Stages,
    *,
    verify: bool,
) -> _Traced:
    with stage("load"), tempfile.TemporaryDirectory(prefix="llmb-export-") as aside:
        source = load()
        facts = source.network.facts
        place = tokenizer or _written(source.tokenizer_files, Path(aside))
        place = converted(place or path, Path(aside)) or place
        words = load_tokenizer_source(place, path, facts.vocab_size, source.eos_token_ids)
        chat = chat_facts(source.chat_template, words, stage.progress)
    with stage("run in PyTorch"), in_a_sentence(facts.architecture, _RUNNING):
        texts = [ids for _, ids in words.facts.golden]
        reference = record(source.network, texts, words.facts.vocab_size, short=not verify)
    with stage("trace"), in_a_sentence(facts.architecture, _REWRITING):
        model = trace(source.network)
        fuse(model)
    draft = Manifest(
        model=facts,
        tokenizer=words.facts,
        source=source.facts,
        files={},
        generation=source.generation,
        chat=chat,
        created_by=created_by(),
    )
    return _Traced(model, draft, words, source.chat_template, reference, source.stored_bits)


def _written(files: Mapping[str, str], folder: Path) -> Path | None:
    """The folder, with these files in it; None if there are none."""
    for name, text in files.items():
        with named(folder / name):
            (folder / name).write_text(text, encoding="utf-8")
    return folder if files else None


def _release_weights(*models: ir.Model) -> None:
    """Let go of weights that are written; the tracer keeps references to its graphs."""
    for model in models:
        for value in model.graph.initializers.values():
            value.const_value = None
    gc.collect()


def _cache_type(kv_cache: Literal["float32", "int8"], device: Target) -> CacheType:
    return "float16" if device == "cuda" else kv_cache


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)
