"""Hugging Face model directories: weights and configuration, generation defaults, chat template."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from optimum.utils import NormalizedConfigManager
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from llmbuilder.bundle.manifest import CHAT_TEMPLATE_NAME, ModelFacts, SourceFacts
from llmbuilder.checks import is_whole
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, ExportError
from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.network import Source
from llmbuilder_export.networks.refusals import refuse_states
from llmbuilder_export.sources.adapters import load_adapter
from llmbuilder_export.sources.counts import few_parts, refuse_counts, window_of
from llmbuilder_export.sources.families import refuse_other_purpose, refuse_unknown_family
from llmbuilder_export.sources.files import read_json
from llmbuilder_export.sources.lora import merge_adapter
from llmbuilder_export.sources.mxfp4 import unpacking
from llmbuilder_export.sources.weights import check_files, refuse_holes, refuse_larger

_WINDOWS = {"bloom": "seq_length", "mpt": "max_seq_len"}
_SAID = (ValueError, OSError, ImportError)
_STRATEGY = frozenset({"do_sample", "num_beams"})  # the last to be given up
# Token ids belong to the tokenizer's facts.
_ELSEWHERE = frozenset({"eos_token_id", "bos_token_id", "pad_token_id"})


def load_huggingface(directory: Path, max_context: int | None = None, adapter: Path | None = None) -> Source:
    """Load a directory as ``save_pretrained`` writes it, without the network and without running its code.

    Args:
        directory: holds ``config.json`` and weights.
        max_context: most tokens of the window, if fewer than the model has.
        adapter: directory of a LoRA adapter to merge into it.

    Raises:
        ModelNotFoundError: there is no adapter.
        ExportError: it cannot be loaded, its architecture cannot be exported, or the adapter does not belong to it.
    """
    read = None if adapter is None else load_adapter(adapter)
    model = _load_model(directory)
    if read is not None:
        merge_adapter(model, read, directory)
    return Source(
        network=adapt(model, max_context, f"{directory}/config.json"),
        facts=SourceFacts(
            kind="huggingface",
            name=directory.resolve().name,
            sha256=None,
            adapter=None if adapter is None else adapter.resolve().name,
        ),
        generation=generation_defaults(directory),
        chat_template=chat_template(directory),
    )


def adapt(model: PreTrainedModel, max_context: int | None, place: str) -> AdaptedNetwork:
    """The network of a model, which is changed.

    Args:
        model: the model, in float32 and evaluation mode.
        max_context: most tokens of the window, if fewer than the model has.
        place: where its configuration is, for messages.

    Raises:
        ExportError: the window is not known, or the architecture cannot be exported.
    """
    refuse_states(model)
    window = _window(model.config) or max_context
    if window is None:
        raise ExportError(f"{place} does not say how long the window is. Pass --max-context.")
    network = AdaptedNetwork(model, window_of(window, max_context, place))
    check_facts(network.facts, model.config)
    return network


def _window(config: PretrainedConfig) -> int | None:
    """Tokens of the window, if the configuration says them, under the name that its family has for them."""
    name = _WINDOWS.get(config.model_type, "max_position_embeddings")
    window: Any = getattr(config.get_text_config(), name, None)
    return int(window) if is_whole(window, 1) else None


def check_facts(observed: ModelFacts, config: PretrainedConfig) -> None:
    """Compare layers seen while the model ran with its configuration, and heads where optimum knows how to read them.

    Raises:
        ExportError: they differ: a layer does not attend, or attention would be put together wrongly.
    """
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if layers is not None and layers != observed.num_layers:
        raise ExportError(
            f"{observed.architecture} attends in {observed.num_layers} of its {layers} layers; what the others keep "
            "of a text is no attention, which a bundle cannot express. Export a model of another family."
        )
    try:
        read = NormalizedConfigManager.get_normalized_config_class(config.model_type)
    except KeyError:
        return
    configured = read(config.get_text_config())
    if (configured.num_layers, configured.num_attention_heads) != (
        observed.num_layers,
        observed.num_attention_heads,
    ):
        raise ExportError(
            f"{observed.architecture} was seen to attend in {observed.num_layers} layers with "
            f"{observed.num_attention_heads} heads, but its configuration says {configured.num_layers} and "
            f"{configured.num_attention_heads}. Export a model of another family, and report this one."
        )


def generation_defaults(directory: Path) -> dict[str, Any]:
    """The options of ``generation_config.json`` that `GenerationConfig` has and accepts together."""
    return generation_options(read_json(directory / "generation_config.json"))


def generation_options(content: Mapping[str, Any]) -> dict[str, Any]:
    """The options of transformers' configuration of generation that ours has and accepts together."""
    options = {
        name: value
        for name, value in content.items()
        if name in GenerationConfig.__dataclass_fields__ and name not in _ELSEWHERE and value is not None
    }
    if options.get("num_beams", 1) == 1:
        options.pop("early_stopping", None)  # means something else here
    return options if _are_accepted(options) else _accepted(options)


def _accepted(options: Mapping[str, Any]) -> dict[str, Any]:
    """As many of the options as go together: transformers allows values and combinations that mean nothing here."""
    for wrong in sorted(options, key=lambda name: name in _STRATEGY):
        others = {name: value for name, value in options.items() if name != wrong}
        if _are_accepted(others):
            return others
    kept: dict[str, Any] = {}
    for name, value in options.items():
        if _are_accepted({**kept, name: value}):
            kept[name] = value
    return kept


def _are_accepted(options: Mapping[str, Any]) -> bool:
    try:
        GenerationConfig(**options)
    except ConfigError:
        return False
    return True


def chat_template(directory: Path) -> str | None:
    """The model's chat template, from the file of its own or from the tokenizer's configuration."""
    path = directory / CHAT_TEMPLATE_NAME
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = read_json(directory / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _load_model(directory: Path) -> PreTrainedModel:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    content = read_json(directory / "config.json")
    refuse_unknown_family(content, directory / "config.json")
    refuse_counts(content, directory / "config.json")
    with in_our_words(directory):
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    refuse_other_purpose(config)
    stored = check_files(directory, config)
    with (
        in_our_words(directory),
        torch.device("meta"),
        few_parts(f"{directory}/config.json", len(stored)),
    ):
        sketch = AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)
    refuse_states(sketch)
    refuse_larger(directory, sketch, stored)
    with in_our_words(directory):
        model, loaded = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **unpacking(config),
        )
    refuse_holes(directory, model, loaded)
    evaluated: PreTrainedModel = model.eval().requires_grad_(False)
    return evaluated


@contextmanager
def in_our_words(source: Path) -> Iterator[None]:
    """Tell what transformers and safetensors raise, which share no base class, as an `ExportError`."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{source} cannot be loaded as a causal language model{_quoted(error)}. "
            "Check that transformers loads it, and that all its files are there."
        ) from error


def _quoted(error: Exception) -> str:
    """What transformers says of files and configurations; what Python or torch say of its code helps nobody."""
    about_field = type(error).__module__.startswith("huggingface_hub") and error.__cause__ is not None
    said = str(error.__cause__ if about_field else error).strip().partition("\n")[0][:300]
    return f" ({said})" if said and (about_field or isinstance(error, _SAID)) else ""
