"""Where models come from: one module for each kind of source, each returning a `Source`."""

from pathlib import Path

from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export.networks.network import Source
from llmbuilder_export.sources.files import GGUF_MAGIC, read_json, refuse_special
from llmbuilder_export.sources.kinds import refuse_other_directory, refuse_other_file
from llmbuilder_export.sources.weights import refuse_broken_weights


def load_source(
    path: Path,
    config: Path | None = None,
    max_context: int | None = None,
    adapter: Path | None = None,
) -> Source:
    """Load a Hugging Face directory, a GGUF file or an LLMBuilder checkpoint file.

    Args:
        path: the directory or file.
        config: configuration file for checkpoints that hold none.
        max_context: most tokens of the window, if fewer than the model has.
        adapter: directory of a LoRA adapter to merge into a Hugging Face model or a GGUF file.

    Raises:
        ModelNotFoundError: there is nothing at ``path`` or ``adapter``.
        ExportError: it cannot be exported.
    """
    if not path.exists():
        raise ModelNotFoundError(
            f"There is no model at {path}. Pass a checkpoint file, a GGUF file or a Hugging Face directory."
        )
    if not path.is_dir():
        from llmbuilder_export.sources.llmbuilder import load_llmbuilder

        refuse_special(path)
        refuse_other_file(path)
        source = _load_gguf(path, config, max_context, adapter)
        if source is None and adapter is not None:
            raise ExportError(
                f"{path} is a checkpoint; adapters are merged into directories of Hugging Face models and GGUF files "
                f"only. Leave --adapter {adapter} out, or pass the model that it was trained on."
            )
        source = source or load_llmbuilder(path, config, max_context)
    else:
        from llmbuilder_export.sources.huggingface import load_huggingface

        _check_directory(path, config)
        source = load_huggingface(path, max_context, adapter)
    refuse_broken_weights(source.network, path)
    return source


def _load_gguf(
    path: Path, config: Path | None, max_context: int | None, adapter: Path | None
) -> Source | None:
    """The model of a GGUF file, or None if it is no such file."""
    with path.open("rb") as file:
        if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            return None
    if config is not None:
        raise ExportError(
            f"{path} is a GGUF file and has its own configuration. Leave --config {config} out."
        )
    from llmbuilder_export.sources.gguf_source import load_gguf

    return load_gguf(path, max_context, adapter)


def _check_directory(path: Path, config: Path | None) -> None:
    _refuse_adapter(path)
    refuse_other_directory(path)
    if not (path / "config.json").exists():
        raise ExportError(
            f"{path} is no Hugging Face model directory: it has no config.json. "
            "For an LLMBuilder model pass the checkpoint file itself, such as model/model.pt."
        )
    if config is not None:
        raise ExportError(
            f"{path} is a Hugging Face model directory and has its own config.json. Leave --config {config} out."
        )
    read_json(path / "config.json")


def _refuse_adapter(directory: Path) -> None:
    from llmbuilder_export.sources.adapters import CONFIG_NAME, described

    what = described(directory)
    if what is None:
        return
    if (directory / "config.json").exists():
        raise ExportError(
            f"{directory} holds an adapter beside the weights, which would be left out. Move {CONFIG_NAME} and "
            "adapter_model.* into a directory of their own, and pass that with --adapter to merge it."
        )
    raise ExportError(f"{directory} is {what}; give its base: llmb export BASE --adapter {directory}")
