"""Checkpoints of nanoGPT (https://github.com/karpathy/nanoGPT): GPT-2 with exact GELU, and biases or none."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from llmbuilder.bundle.manifest import SourceFacts
from llmbuilder.checks import is_whole
from llmbuilder.errors import ExportError
from llmbuilder.userdata import file_sha256
from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.network import Source
from llmbuilder_export.sources.checkpoint import State, find_state
from llmbuilder_export.sources.counts import window_of
from llmbuilder_export.sources.files import listed
from llmbuilder_export.sources.weights import refuse_larger

_OPTIONS = "model_args"
_SIZES = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "block_size": "n_positions",
    "vocab_size": "vocab_size",
}
_TOKENS, _HEAD = "transformer.wte.weight", "lm_head.weight"
_MASK = re.compile(r"\.attn\.bias$")
_TURNED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
"""What GPT-2 of transformers keeps as [inputs, outputs]."""


def load_nanogpt(checkpoint: Mapping[str, Any], path: Path, max_context: int | None) -> Source:
    """The model of a checkpoint.

    Args:
        checkpoint: what was read from the file.
        path: the file, for messages.
        max_context: most tokens of the window, if fewer than the model has.

    Raises:
        ExportError: sizes are missing, or weights are missing, unknown or of other sizes.
    """
    options = checkpoint[_OPTIONS]
    sizes: dict[str, Any] = {ours: options.get(theirs) for theirs, ours in _SIZES.items()}
    wrong = [theirs for theirs, ours in _SIZES.items() if not is_whole(sizes[ours], 1)]
    if wrong or sizes["n_embd"] % sizes["n_head"]:
        raise ExportError(
            f"{path} is a checkpoint of nanoGPT whose {_OPTIONS} do not say {listed(wrong or ['n_head'])} rightly. "
            "Pass a checkpoint as train.py saved it."
        )
    state = find_state(checkpoint, path)
    model = _model(
        GPT2Config(**sizes, activation_function="gelu", bos_token_id=None, eos_token_id=None), state, path
    )
    window = window_of(sizes["n_positions"], max_context, str(path))
    return Source(
        network=AdaptedNetwork(model, window),
        facts=SourceFacts(kind="nanogpt", name=path.name, sha256=file_sha256(path)),
    )


def _model(config: GPT2Config, state: State, path: Path) -> PreTrainedModel:
    tied = _HEAD not in state or torch.equal(state[_HEAD], state.get(_TOKENS, state[_HEAD]))
    config.tie_word_embeddings = tied
    given = {
        name: weight.t() if _TURNED.search(name) else weight
        for name, weight in state.items()
        if not _MASK.search(name) and not (tied and name == _HEAD)
    }
    if config.n_layer > len(given):
        raise ExportError(
            f"{path} says {config.n_layer} layers, but holds {len(given)} weights. Get it again."
        )
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    refuse_larger(path, model, {name: tuple(weight.shape) for name, weight in given.items()})
    wanted = {name: weight.shape for name, weight in model.named_parameters()}
    for name, shape in wanted.items():
        if name.endswith(".bias") and name not in given:  # of a model trained with bias=False
            given[name] = torch.zeros(shape)
    odd = [name for name in {*wanted, *given} if given.get(name, torch.zeros(())).shape != wanted.get(name)]
    if odd:
        raise ExportError(
            f"{path} does not hold the weights that its {_OPTIONS} promise: {listed(odd)} are missing, unknown or of "
            "another size. Pass a checkpoint as train.py saved it."
        )
    transformers.utils.logging.disable_progress_bar()
    loaded = GPT2LMHeadModel.from_pretrained(None, config=config, state_dict=given, dtype=torch.float32)
    evaluated: PreTrainedModel = loaded.eval().requires_grad_(False)
    return evaluated
