"""``python -m llmbuilder_cli``: the same as ``llmb``."""

from llmbuilder_cli.main import main

main()
