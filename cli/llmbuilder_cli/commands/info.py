"""``llmb info``: what a bundle is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from llmbuilder_cli.options import Model, require_model
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json

if TYPE_CHECKING:
    from llmbuilder.bundle.manifest import Manifest
    from llmbuilder.bundle.opening import Bundle


def info(
    model: Model = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what a bundle holds and where it came from."""
    model = require_model(model)
    with said(f"Reading {model}"):
        from llmbuilder.bundle.opening import open_bundle
        from llmbuilder.bundle.resolve import find_bundle

        opened = open_bundle(find_bundle(model, None))
        facts = [] if as_json else list(_facts(opened))
    if as_json:
        tell_json(opened.manifest.to_json().rstrip())
        return
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        tell(f"{name:{width}}  {value}".replace("\n", r"\n"))


def measurements(manifest: "Manifest") -> Iterator[tuple[str, str]]:
    """Yield (name, value) for what the export measured against PyTorch."""
    for name, value in manifest.verification.items():
        yield name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else str(value)


def here(device: str, threads: int) -> Iterator[tuple[str, str]]:
    """Yield (name, value) for what bundles for a device run on here, with how many threads, or why they do not."""
    from llmbuilder.engine.installation import runtime_name
    from llmbuilder.errors import DeviceError

    on_card = device == "cuda"
    try:
        runtime = runtime_name()
    except DeviceError as error:
        yield "here", f"does not run: {error}"
        return
    if not on_card:
        yield "here", f"CPUExecutionProvider of {runtime}"
        yield "processor", _processor(threads)
        return
    from llmbuilder.engine.cuda.starting import why_not

    reason = why_not(0)
    if reason is None:
        yield "here", f"CUDAExecutionProvider of {runtime}, steps replayed as CUDA graphs"
    else:
        yield "here", f"does not run: {reason}"
    yield from _card()


def _processor(threads: int) -> str:
    from llmbuilder.engine.machine import processor_name
    from llmbuilder.showing import counted

    return f"{processor_name()}, {counted(threads, 'thread')}"


def _card() -> Iterator[tuple[str, str]]:
    """The first card, if the driver shows one."""
    from llmbuilder.engine.cuda.card import card
    from llmbuilder.errors import DeviceError

    try:
        found = card(0)
    except DeviceError:
        return
    yield "card", f"{found.name}, {found.free_bytes / 1e9:.1f} of {found.total_bytes / 1e9:.1f} GB free"
    yield "driver", f"{found.driver or 'version unknown'}, for CUDA up to {found.cuda}"


def _facts(bundle: "Bundle") -> Iterator[tuple[str, str]]:
    """Yield (name, value) for every line."""
    from llmbuilder.engine.threads import usable_threads

    manifest = bundle.manifest
    model, tokenizer = manifest.model, manifest.tokenizer
    yield "bundle", str(bundle.directory)
    yield "source", f"{manifest.source.name} ({manifest.source.kind})"
    yield "size", f"{bundle.size / 1e6:,.1f} MB"
    yield "quantization", manifest.quantization
    yield "runs on", f"{manifest.device}, {manifest.kv_cache} KV cache"
    yield from here(manifest.device, usable_threads(model))
    yield "architecture", model.architecture
    yield "parameters", f"{model.parameters:,}"
    yield "layers", f"{model.num_layers} of width {model.hidden_size}"
    for layer in dict.fromkeys(model.layers):
        heads = f"{model.num_attention_heads} heads, {layer.heads} key/value heads"
        window = f", over {layer.window:,} tokens" if layer.window else ""
        yield "attention", f"{heads}, each {layer.key_size} wide{window}"
    yield "window", f"{model.context_length:,} tokens"
    yield "tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens for {model.vocab_size:,} ids"
    yield "chat template", "none" if bundle.chat_template is None else "its own"
    yield "exported by", manifest.created_by
    yield from ((f"default {name}", str(value)) for name, value in manifest.generation.items())
    yield from ((f"verified {name}", value) for name, value in measurements(manifest))
