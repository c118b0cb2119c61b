"""What ``help`` tells of options, and what ``repr`` tells of everything that holds a model."""

import inspect
import pydoc

import pytest

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.engine.loading import Engine
from llmbuilder.generator import TextGenerator
from llmbuilder.interactive.interface import InteractiveGenerator
from llmbuilder.scheduling.asynchronous import AsyncTextGenerator
from llmbuilder.sessions.state import State
from llmbuilder.testing import fake_engine, scripted
from llmbuilder.writing import CreativeWriter

HELP = pydoc.render_doc(GenerationConfig, renderer=pydoc.plaintext)
MODEL = "fake of 1 parameters, window of 64, made by hand"


@pytest.mark.parametrize("option", generation_options().values(), ids=lambda option: option.name)
def test_help_tells_type_default_meaning_and_range_of_every_option(option):
    told = HELP.partition("Options:")[2].partition(f" {option.name}: ")[2]
    lines = [line.strip(" |") for line in told.splitlines()]
    assert lines[0] == f"{option.type} = {option.default!r}"
    assert lines[1] == option.doc.splitlines()[0]
    assert f"Must be {option.range}." in lines


def test_help_of_one_option_tells_its_meaning():
    assert inspect.getdoc(GenerationConfig.top_k) == generation_options()["top_k"].doc


@pytest.mark.parametrize("call", [GenerationConfig, GenerationConfig.__init__])
def test_the_signature_has_every_option_with_its_default(call):
    parameters = inspect.signature(call).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        name: option.default for name, option in generation_options().items()
    }


def test_help_shows_nothing_of_how_ranges_are_checked():
    assert "lambda" not in HELP
    assert "Annotated" not in HELP.partition("Data and other attributes")[0]


@pytest.fixture
def generator():
    return TextGenerator.from_engine(fake_engine(scripted("secret")))


SHOWN = {
    "TextGenerator": (lambda generator: generator, MODEL),
    "Engine": (lambda generator: generator.engine, MODEL),
    "ChatInterface": (lambda g: ChatInterface(g, system_prompt="secret"), MODEL),
    "InteractiveGenerator": (InteractiveGenerator, f"{MODEL}, continues each prompt"),
    "ConstrainedGenerator": (lambda g: ConstrainedGenerator(g, required_words=["secret"]), MODEL),
    "CreativeWriter": (CreativeWriter, f"{MODEL}, style creative"),
    "AsyncTextGenerator": (lambda g: AsyncTextGenerator(g.engine), f"{MODEL}, 0 running, 0 waiting"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_holds_a_model_says_which(generator, name):
    make, told = SHOWN[name]
    assert repr(make(generator)) == f"<{name}: {told}>"


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in ("Engine", "AsyncTextGenerator")])
def test_what_is_closed_says_so(generator, name):
    thing = SHOWN[name][0](generator)
    thing.close()
    assert repr(thing).endswith(", closed>")
    assert generator.closed


def test_an_engine_that_was_loaded_says_from_where(make_bundle, monkeypatch, sentencepiece_file):
    from llmbuilder.bundle.opening import open_bundle

    bundle = open_bundle(make_bundle(tokenizer=sentencepiece_file.read_bytes()))
    fake = fake_engine(scripted(""))
    engine = Engine(fake.model, fake.tokenizer, None, (), {}, bundle=bundle)
    assert repr(engine) == f"<Engine: fake of 1 parameters, window of 64, from {bundle.directory}>"


def test_a_bundle_says_where_it_is_and_what_is_in_it(make_bundle):
    from llmbuilder.bundle.opening import open_bundle

    bundle = open_bundle(make_bundle())
    assert repr(bundle) == (f"<Bundle {bundle.directory}: gpt, weights none, for cpu, {bundle.size:,} bytes>")


def test_a_session_shows_nothing_of_what_was_said(generator):
    chat = ChatInterface(generator, system_prompt="secret")
    state = State(chat, None, conversation=[{"user": "secret", "assistant": "secret"}])
    assert "ChatInterface" in repr(state)
    assert "secret" not in repr(state)
