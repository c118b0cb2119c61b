"""OpenAI's HTTP API over models of `llmbuilder`: an application for any ASGI server, and `llmb serve`'s own.

It needs the extra ``serve``. Imports point one way: this package uses `llmbuilder`, which does not know of it.
"""

from llmbuilder_server.app import create_app
from llmbuilder_server.settings import Settings

__all__ = ["Settings", "create_app"]
