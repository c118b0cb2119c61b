"""A server over a fake model in a thread of the test's process, at a port of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from tool_templates import HERMES

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule
from llmbuilder_server.app import make_server
from llmbuilder_server.settings import Settings

WINDOW = 2048


def fake_generator() -> TextGenerator:
    """What the server generates with, anew."""
    return TextGenerator.from_engine(fake_engine(random_rule(), context_length=WINDOW, chat_template=HERMES))


@contextmanager
def listening(**settings) -> Iterator[str]:
    """Serve a model called ``fake`` that can call tools; its address."""
    server = make_server({"fake": fake_generator()}, Settings(**settings))
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        process = uvicorn.Server(uvicorn.Config(server.asgi, log_config=None, access_log=False, ws="none"))
        thread = threading.Thread(target=process.run, kwargs={"sockets": [port]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            process.should_exit = True
            thread.join()
