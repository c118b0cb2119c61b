"""GGUF files as sources: the model in PyTorch, its tokenizer and template, all from the one file."""

import math
from collections import Counter
from pathlib import Path
from typing import Literal

import torch
import transformers
from gguf import GGMLQuantizationType
from transformers import AutoConfig, PreTrainedModel

from llmbuilder.bundle.manifest import SourceFacts
from llmbuilder.errors import ExportError
from llmbuilder.userdata import file_sha256
from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.network import Source
from llmbuilder_export.sources.adapters import load_adapter
from llmbuilder_export.sources.counts import window_of
from llmbuilder_export.sources.gguf_models import (
    check_architecture,
    model_config,
    rotary_factors,
    weight_names,
    weights,
)
from llmbuilder_export.sources.gguf_tokenizers import chat_template, tokenizer_files
from llmbuilder_export.sources.ggufs import GGUF, read_gguf
from llmbuilder_export.sources.huggingface import check_facts, in_our_words
from llmbuilder_export.sources.lora import merge_adapter
from llmbuilder_export.sources.weights import refuse_holes, refuse_larger

_BITS: dict[GGMLQuantizationType, Literal[4, 8]] = {
    GGMLQuantizationType.Q4_0: 4,
    GGMLQuantizationType.Q8_0: 8,
}


def load_gguf(path: Path, max_context: int | None = None, adapter: Path | None = None) -> Source:
    """Load a file; weights become float32.

    Args:
        path: the file.
        max_context: most tokens of the window, if fewer than the model has.
        adapter: directory of a LoRA adapter to merge into it.

    Raises:
        ModelNotFoundError: there is no adapter.
        ExportError: it is damaged, holds what cannot be exported exactly, or the adapter does not belong to it.
    """
    read = None if adapter is None else load_adapter(adapter)
    file = read_gguf(path)
    check_architecture(file)
    window = window_of(model_config(file)["max_position_embeddings"], max_context, str(path))
    files = tokenizer_files(file)
    model = _load_model(file)
    if read is not None:
        merge_adapter(model, read, path)
    network = AdaptedNetwork(model, window)
    check_facts(network.facts, model.config)
    return Source(
        network=network,
        facts=SourceFacts(
            kind="gguf",
            name=path.name,
            sha256=file_sha256(path),
            adapter=None if adapter is None else adapter.resolve().name,
        ),
        chat_template=chat_template(file),
        tokenizer_files=files,
        stored_bits=_stored_bits(file),
    )


def _stored_bits(file: GGUF) -> Literal[4, 8] | None:
    """The size of the codes of more than half of all numbers, if these lie in blocks as a bundle's do."""
    numbers: Counter[GGMLQuantizationType] = Counter()
    for tensor in file.tensors.values():
        numbers[tensor.kind] += math.prod(tensor.shape)
    kind, count = numbers.most_common(1)[0]
    return _BITS.get(kind) if 2 * count > numbers.total() else None


def _load_model(file: GGUF) -> PreTrainedModel:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options = model_config(file)
    kind = getattr(transformers, options["architectures"][0])
    with in_our_words(file.path):
        config = AutoConfig.for_model(**options)
        with torch.device("meta"):
            sketch = kind(config)
    shapes = {name: file.tensors[stored].shape for stored, name in weight_names(file).items()}
    refuse_larger(file.path, sketch, shapes)
    state = {name: torch.from_numpy(weight) for name, weight in weights(file, options)}
    with in_our_words(file.path):
        model, loaded = kind.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    refuse_holes(file.path, model, loaded)
    _divide_frequencies(model, file)
    evaluated: PreTrainedModel = model.eval().requires_grad_(False)
    return evaluated


def _divide_frequencies(model: PreTrainedModel, file: GGUF) -> None:
    """Let positions rotate as a file of Llama 3.1 and later says, by a factor for each frequency."""
    factors = rotary_factors(file)
    if factors is None:
        return
    frequencies = model.get_submodule("model.rotary_emb").get_buffer("inv_freq")
    if factors.shape != tuple(frequencies.shape) or not (factors > 0).all():
        raise ExportError(
            f"{file.path} has factors of rotation that do not fit the model. Get the file again."
        )
    frequencies /= torch.from_numpy(factors)
