"""Installed after this package, LLMBuilder's own takes the place of `llmbuilder`, whose check then never runs."""

import importlib.util
from importlib import metadata


def refuse_upstream() -> None:
    """Raise if LLMBuilder's own package is in this environment, or has gone from it with files of ours.

    Raises:
        ImportError: with advice.
    """
    try:
        version = metadata.version("llmbuilder")
    except metadata.PackageNotFoundError:
        _refuse_what_is_left()
        return
    # As llmbuilder._upstream says it, which cannot be asked here: its package may be theirs.
    raise ImportError(
        f"LLMBuilder {version}, which trains models, and llmbuilder-runtime are installed in one environment and "
        "have overwritten each other's files. To train in it: pip uninstall --yes llmbuilder-runtime, then pip "
        f'install --force-reinstall --no-deps "llmbuilder=={version}". Install llmbuilder-runtime again, from '
        "where you had it, in an environment of its own."
    )


def _refuse_what_is_left() -> None:
    found = importlib.util.find_spec("llmbuilder")
    if found is None or found.origin is None:
        raise ImportError(
            "Files of llmbuilder-runtime are missing: pip took them away with LLMBuilder, which has the same import "
            "name. Install llmbuilder-runtime again, from where you had it, in an environment of its own."
        )
