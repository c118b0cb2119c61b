"""Installed after this package, LLMBuilder's own takes the place of `llmbuilder`, whose check then never runs."""


def refuse_upstream() -> None:
    """Raise if the upstream distribution is in this environment, whichever of the two `import llmbuilder` would find.

    Raises:
        ImportError: with advice.
    """
    from importlib import metadata  # takes longer than all else that help loads

    try:
        version = metadata.version("llmbuilder")
    except metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"The package llmbuilder {version} (which trains models) shares this environment and the import name with "
        "llmbuilder-runtime. Train in one virtual environment, generate in another. Here: pip uninstall llmbuilder "
        "llmbuilder-runtime, then pip install llmbuilder-runtime."
    )
