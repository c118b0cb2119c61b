"""LLMBuilder's own package has the same import name and the same scripts; the two cannot share an environment."""

from llmbuilder import installed

_OTHER = "llmbuilder"


def refuse_upstream() -> None:
    """Raise if the upstream distribution is installed beside this one.

    Raises:
        ImportError: with advice.
    """
    if not installed.has(_OTHER):
        return
    version = installed.version(_OTHER)
    raise ImportError(
        f"LLMBuilder {version}, which trains models, and llmbuilder-runtime are installed in one environment and "
        "have overwritten each other's files. To train in it: pip uninstall --yes llmbuilder-runtime, then pip "
        f'install --force-reinstall --no-deps "llmbuilder=={version}". Install llmbuilder-runtime again, from '
        "where you had it, in an environment of its own."
    )
