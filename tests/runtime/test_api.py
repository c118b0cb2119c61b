import gc

import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.engine.loading import Lease
from llmbuilder.errors import ConfigError, ContextOverflowError, TokenizerError
from llmbuilder.inference import batch_generate, compare_generations, generate_text, stream_generate
from llmbuilder.testing import fake_engine, random_rule

OPTIONS = {"max_new_tokens": 12, "early_stopping": False, "seed": 4}


class Door:
    """Stands in for finding and loading models: one fake model, and a count of its users."""

    def __init__(self):
        self.engine = fake_engine(random_rule())
        self.opened = []
        self.given_back = set()

    def acquire(self, model_path, tokenizer_path, *, device, threads, deterministic):
        self.opened.append((model_path, tokenizer_path, device, threads))
        return Lease(self.engine, self.given_back.add)

    @property
    def users(self):
        return len(self.opened) - len(self.given_back)


@pytest.fixture
def door(monkeypatch):
    door = Door()
    monkeypatch.setattr("llmbuilder.generator.source.acquire", door.acquire)
    return door


CALLS = {
    "generate_text": generate_text,
    "stream_generate": lambda *args, **kwargs: "".join(stream_generate(*args, **kwargs)),
    "batch_generate": lambda model, tokenizer, prompt, **kwargs: batch_generate(
        model, tokenizer, [prompt], **kwargs
    )[0],
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def test_all_three_give_the_same_text(door):
    texts = {call("m", "t", "Once", **OPTIONS) for call in CALLS.values()}
    assert len(texts) == 1


def test_paths_device_and_threads_are_passed_on(door, call):
    call("m", "t", "Once", device="cpu", threads=2, **OPTIONS)
    assert door.opened == [("m", "t", "cpu", 2)]


def test_model_tokenizer_and_prompts_may_be_named(door):
    text = generate_text(model_path="m", tokenizer_path="t", prompt="a", **OPTIONS)
    assert batch_generate(model_path="m", tokenizer_path="t", prompts=["a"], **OPTIONS) == [text]
    assert "".join(stream_generate(model_path="m", tokenizer_path="t", prompt="a", **OPTIONS)) == text


def test_keywords_go_before_the_config(door, call):
    config = GenerationConfig(max_new_tokens=12, early_stopping=False, seed=1)
    assert call("m", None, "a", config=config, seed=4) == call("m", None, "a", **OPTIONS)
    assert call("m", None, "a", config=config) != call("m", None, "a", **OPTIONS)


def test_the_model_is_given_back(door, call):
    call("m", None, "a", **OPTIONS)
    assert door.users == 0


@pytest.mark.parametrize(
    ("prompt", "options", "error"),
    [
        ("a", {"max_tokens": 1}, ConfigError),
        ("a" * 65, {}, ContextOverflowError),
        ("a", {"seed": -1}, ConfigError),
    ],
)
def test_a_mistake_raises_at_once_and_gives_the_model_back(door, prompt, options, error):
    for call in (generate_text, stream_generate, lambda m, t, p, **o: batch_generate(m, t, [p], **o)):
        with pytest.raises(error):
            call("m", None, prompt, **options)
    assert door.users == 0


@pytest.mark.parametrize("pieces", [0, 1, 1000])
def test_a_stream_gives_the_model_back_however_far_it_is_read(door, pieces):
    stream = stream_generate("m", None, "a", **OPTIONS)
    for _ in zip(range(pieces), stream, strict=False):
        pass
    stream.close()
    assert door.users == 0


def test_a_stream_that_is_dropped_gives_the_model_back(door):
    stream_generate("m", None, "a", **OPTIONS)
    gc.collect()
    assert door.users == 0


def test_batches_are_of_eight(door):
    batch_generate("m", None, ["a"] * 20, **OPTIONS)
    assert door.engine.model.most_rows == 8
    batch_generate("m", None, ["a"] * 20, batch_size=20, **OPTIONS)
    assert door.engine.model.most_rows == 20


NAMED = {
    generate_text: "prompt",
    stream_generate: "prompt",
    batch_generate: "prompts",
    compare_generations: "prompt",
}


@pytest.mark.parametrize(
    ("call", "argument"), NAMED.items(), ids=lambda value: getattr(value, "__name__", "")
)
class TestTheCommonestMistakes:
    def test_a_prompt_in_the_tokenizers_place_is_found(self, door, call, argument):
        with pytest.raises(
            TokenizerError, match=rf"^There is no tokenizer at 'Once upon'\. Did you mean {argument}='Once"
        ):
            call("m", "Once upon")
        assert door.opened == []

    @pytest.mark.parametrize("wrong", ["a" * 5000, "a\0b", "\ud800", "a\nb"])
    def test_whatever_text_it_is(self, door, call, argument, wrong):
        with pytest.raises(TokenizerError, match=f"Did you mean {argument}="):
            call("m", wrong)

    @pytest.mark.parametrize("name", ["text", "input", "inputs", "message", "prompt", "prompts"])
    def test_a_prompt_by_another_name_is_found(self, door, call, argument, name):
        if name == argument:
            return
        with pytest.raises(
            ConfigError, match=rf"^Unknown generation option '{name}'\. Did you mean {argument}=\?$"
        ):
            call("m", **{name: "a"})
        assert door.opened == []


def test_prompts_in_the_tokenizers_place_are_found(door):
    with pytest.raises(TokenizerError, match=r"Did you mean prompts=\['a', 'b'\]\?"):
        batch_generate("m", ["a", "b"])


def test_a_tokenizer_that_is_there_is_none_of_them(door, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    assert batch_generate("m", str(tmp_path / "tokenizer"), []) == []
    generate_text("m", tmp_path / "elsewhere", **OPTIONS)
