"""What a program that listens to ``llmbuilder`` is told, and that nobody else is."""

import logging
import subprocess
import sys

import pytest

from llmbuilder import logs
from llmbuilder.chat.interface import ChatInterface
from llmbuilder.engine.loading import load_engine
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule, scripted

LONG = {"max_new_tokens": 70, "early_stopping": False, "seed": 1}


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="llmbuilder")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def generator():
    return TextGenerator.from_engine(fake_engine(random_rule()))


def test_a_load_tells_path_device_threads_and_seconds(told, make_bundle, monkeypatch, sentencepiece_file):
    from llmbuilder.engine import loading

    monkeypatch.setattr(loading.Model, "open", lambda *args, **options: fake_engine(random_rule()).model)
    bundle = make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=330)
    load_engine(bundle, threads=3)
    (message,) = told()
    assert message.startswith(f"loaded {bundle} on cpu with 3 threads in ")
    assert message.endswith(" seconds")


def test_a_window_that_slides_is_told(told, generator):
    generator.generate("a", **LONG)
    assert told() == ["the window of 64 tokens is full: a text goes on with its last 48"]


def test_without_a_cache_nothing_slides(told, generator):
    generator.generate("a", **LONG, use_cache=False)
    assert told() == []


def test_a_prompt_that_is_cut_is_told(told, generator):
    generator.generate("a" * 70, truncate_prompt=True, max_new_tokens=1)
    assert told()[0] == "a prompt of 70 tokens is cut to its last 64"


def test_a_conversation_that_is_cut_is_told(told):
    chat = ChatInterface(TextGenerator.from_engine(fake_engine(scripted("x"), context_length=128)))
    chat.respond("b" * 20, [{"user": "a" * 20, "assistant": "a" * 20}] * 3, max_new_tokens=5)
    assert told() == [
        f"a conversation goes on without its oldest {chat.dropped_turns} turns, for which there is no room"
    ]


def test_a_message_that_is_cut_is_told(told):
    chat = ChatInterface(TextGenerator.from_engine(fake_engine(scripted("x"), context_length=128)))
    chat.respond("b" * 100, max_new_tokens=60, truncate_prompt=True)
    assert told()[0].startswith("a message of 100 characters is cut to its last ")


def test_no_text_of_anybody_is_told(caplog, generator):
    caplog.set_level(logging.DEBUG)
    generator.generate("secret" * 20, **LONG, truncate_prompt=True)
    ChatInterface(generator).respond("secret " * 20, truncate_prompt=True)
    assert caplog.records
    assert "secret" not in caplog.text


def test_who_does_not_listen_hears_nothing():
    program = (
        "from llmbuilder.inference import TextGenerator\n"
        "from llmbuilder.testing import fake_engine, random_rule\n"
        "generator = TextGenerator.from_engine(fake_engine(random_rule()))\n"
        "generator.generate('a' * 70, truncate_prompt=True, early_stopping=False)\n"
        "from llmbuilder import logs\n"
        "logs.logger('llmbuilder.any').error('not printed either')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")


def test_every_logger_is_below_the_packages():
    assert logs.logger("llmbuilder.decoding.batch").parent is logging.getLogger("llmbuilder")
