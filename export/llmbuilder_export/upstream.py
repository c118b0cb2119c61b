"""Installed after this package, LLMBuilder's own takes the place of `llmbuilder`, whose check then never runs."""

import importlib.util
import sys
from pathlib import Path


def refuse_upstream() -> None:
    """Raise if LLMBuilder's own package is in this environment, or has gone from it with files of ours.

    Raises:
        ImportError: with advice.
    """
    version = _version() if any(map(_may_hold_it, sys.path)) else None
    if version is None:
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


def _version() -> str | None:
    """The version of LLMBuilder's own package, if it is installed."""
    from importlib import metadata  # takes longer than all else that help loads

    try:
        return metadata.version("llmbuilder")
    except metadata.PackageNotFoundError:
        return None


def _may_hold_it(folder: str) -> bool:
    """Whether a place on the path has a record of a package with such a name, or is no plain folder."""
    try:
        names = [path.name.lower() for path in Path(folder).iterdir()]
    except OSError:
        return Path(folder).is_file()
    return any(name.startswith(("llmbuilder-", "llmbuilder.egg")) for name in names)
