"""LLMBuilder's own package has the same import name and the same scripts; the two cannot share an environment."""

from importlib import metadata

_OTHER = "llmbuilder"


def refuse_upstream() -> None:
    """Raise if the upstream distribution is installed beside this one.

    Raises:
        ImportError: with advice.
    """
    try:
        version = metadata.version(_OTHER)
    except metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"The package llmbuilder {version} (which trains models) is installed in this environment and overwrites "
        "llmbuilder-runtime, which has the same import name. Keep them apart: train in one virtual environment, "
        "generate in another. Here: pip uninstall llmbuilder llmbuilder-runtime, then pip install llmbuilder-runtime."
    )
