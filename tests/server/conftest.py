"""Servers: in the test's process over a fake model, or in a process of their own over the demo bundle."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule
from llmbuilder_server.app import make_server
from llmbuilder_server.settings import Settings

BUNDLE = Path(__file__).parent.parent.parent / "artifacts" / "storyteller" / "bundle"


class Gated:
    """A rule that computes nothing until it is let."""

    def __init__(self):
        self.may = threading.Event()
        self.rule = random_rule()

    def __call__(self, ids):
        self.may.wait()
        return self.rule(ids)


@pytest.fixture
def gated() -> Iterator[Gated]:
    rule = Gated()
    yield rule
    rule.may.set()


@pytest.fixture
def alone():
    """What a prompt gives alone."""

    def complete(prompt, *, window=512, **options):
        return TextGenerator.from_engine(fake_engine(random_rule(), context_length=window)).complete(
            prompt, **options
        )

    return complete


@pytest.fixture
def serving():
    """``with serving(...) as client``: a server over a fake model called ``fake``."""

    @contextmanager
    def serve(rule=None, *, window=512, template=None, names=("fake",), **settings):
        engine = fake_engine(rule or random_rule(), context_length=window, chat_template=template)
        generators = {name: TextGenerator.from_engine(engine) for name in names}
        server = make_server(generators, Settings(**settings))
        with TestClient(server.asgi, base_url="http://localhost", raise_server_exceptions=True) as client:
            client.server = server
            yield client

    return serve


@pytest.fixture
def events():
    """The events of a streamed answer, without the last, ``[DONE]``."""

    def read(response):
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]

    return read


class Process:
    """``llmb serve`` as users run it."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "llmbuilder_cli", "serve", *arguments, "--port", "0"],
                stderr=stream,
                stdout=subprocess.DEVNULL,
                env=os.environ | environment,
            )
        self.address = self._find_address()

    def _find_address(self) -> str:
        while True:
            found = re.search(r"at (http://\S+)[^\n]*\n.*\n", self.log.read_text())
            if found:
                return found[1]
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(self.log.read_text())

    def tell_to_end(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self._process.wait(60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(60)


@pytest.fixture(scope="session")
def start_process(tmp_path_factory):
    """Start a server; those that still run are killed at the end."""
    started = []

    def start(*arguments: str, **environment: str) -> Process:
        log = tmp_path_factory.mktemp("server") / "log"
        started.append(Process(log, *arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def storyteller(start_process) -> Process:
    """The demo model, served with one thread."""
    return start_process(f"tales={BUNDLE}", "--threads", "1")
