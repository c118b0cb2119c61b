"""GGUF files as sources: the model in PyTorch, its tokenizer and template, all from the one file."""

from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from llmbuilder.bundle.manifest import SourceFacts
from llmbuilder.errors import ExportError
from llmbuilder.userdata import file_sha256
from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.network import Source
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
from llmbuilder_export.sources.weights import refuse_holes, refuse_larger


def load_gguf(path: Path, max_context: int | None = None) -> Source:
    """Load a file; weights become float32.

    Args:
        path: the file.
        max_context: most tokens of the window, if fewer than the model has.

    Raises:
        ExportError: it is damaged, or holds what cannot be exported exactly.
    """
    file = read_gguf(path)
    check_architecture(file)
    files = tokenizer_files(file)
    model = _load_model(file)
    window = model.config.max_position_embeddings
    network = AdaptedNetwork(model, min(window, max_context or window))
    check_facts(network.facts, model.config)
    return Source(
        network=network,
        facts=SourceFacts(kind="gguf", name=path.name, sha256=file_sha256(path)),
        chat_template=chat_template(file),
        tokenizer_files=files,
    )


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
