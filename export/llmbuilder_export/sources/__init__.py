"""Where models come from: one module for each kind of source, each returning a `Source`."""

from pathlib import Path

from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export.network import Source


def load_source(path: Path, config: Path | None = None, max_context: int | None = None) -> Source:
    """Load a Hugging Face directory or an LLMBuilder checkpoint file.

    Args:
        path: the directory or file.
        config: configuration file for checkpoints that hold none.
        max_context: most tokens of the window, if fewer than the model has.

    Raises:
        ModelNotFoundError: there is nothing at ``path``.
        ExportError: it cannot be exported.
    """
    if not path.exists():
        raise ModelNotFoundError(
            f"There is no model at {path}. Pass a checkpoint file or a Hugging Face directory."
        )
    if path.is_file():
        from llmbuilder_export.sources.llmbuilder import load_llmbuilder

        return load_llmbuilder(path, config, max_context)
    if (path / "config.json").is_file():
        from llmbuilder_export.sources.huggingface import load_huggingface

        return load_huggingface(path, max_context)
    raise ExportError(
        f"{path} is no Hugging Face model directory: it has no config.json. "
        "For an LLMBuilder model pass the checkpoint file itself, such as model/model.pt."
    )
