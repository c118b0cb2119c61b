"""What fails ends whom it concerns, with an error of ours; all others go on as if it had not happened."""

import pytest

from llmbuilder.decoding.loop import Loop
from llmbuilder.errors import DeviceError, LLMBuilderError, TokenizerError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import ByteTokenizer, FakeDecoder, FakeModel, fake_engine, random_rule

OPTIONS = {"early_stopping": False, "seed": 1, "max_new_tokens": 6}
FAILING, OTHER, WAITING = "fails", "other", "waits"


class Breaking(FakeModel):
    """Its decoders fail where ``breaks(what, decoder, *arguments)`` says so."""

    breaks = staticmethod(lambda *_: False)
    decoders = 0

    def decoder(self, **_):
        self.decoders += 1
        if self.breaks("open", self.decoders):
            raise DeviceError("open breaks")
        return BreakingDecoder(self)


class BreakingDecoder(FakeDecoder):
    def _check(self, what, *arguments):
        if self.model.breaks(what, self, *arguments):
            raise DeviceError(f"{what} breaks")

    def prefill(self, row, ids, keep=1):
        self._check("prefill", ids)
        return super().prefill(row, ids, keep)

    def step(self, tokens):
        self._check("step", tokens)
        return super().step(tokens)

    def copy(self, source, target):
        self._check("copy", target)
        super().copy(source, target)


@pytest.fixture
def generator():
    engine = fake_engine(random_rule())
    object.__setattr__(engine, "model", Breaking(random_rule()))
    object.__setattr__(engine, "tokenizer", ByteTokenizer())
    return TextGenerator.from_engine(engine)


def run(generator, failing, *, max_rows=2, batch=(FAILING, OTHER, WAITING)):
    """What comes of three prompts, of which two fit at once: ids, or the error."""
    loop = Loop(generator.engine.model.decoder, max_rows=max_rows, chunk=4)
    groups = {}
    for prompt in batch:
        groups[prompt] = generator.group(prompt, **OPTIONS | (failing if prompt == FAILING else {}))
        loop.add(groups[prompt])
    told = []
    for _ in range(500):
        if loop.idle:
            break
        told += loop.advance()
    assert loop.idle
    assert all(group in told and group.width == 0 for group in groups.values())
    return {prompt: group.error or group.completions()[0].token_ids for prompt, group in groups.items()}


def alone(generator, prompt):
    return generator.complete(prompt, **OPTIONS)[0].token_ids


@pytest.fixture
def expected(generator):
    return {prompt: alone(generator, prompt) for prompt in (FAILING, OTHER, WAITING)}


@pytest.mark.parametrize("options", [{}, {"num_return_sequences": 2}, {"num_beams": 2}, {"num_beams": 4}])
def test_a_prompt_that_cannot_be_computed_ends_by_itself(generator, expected, options):
    generator.engine.model.breaks = lambda what, _, *ids: what == "prefill" and bytes(ids[0][:2]) == b"fa"
    found = run(generator, options, max_rows=3)
    assert str(found.pop(FAILING)) == "prefill breaks"
    assert found == {prompt: expected[prompt] for prompt in found}


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_step_that_fails_ends_the_rows_that_took_part(generator, expected, step):
    steps = []

    def breaks(what, *_):
        steps.extend([what] if what == "step" else [])
        return what == "step" and len(steps) == step

    generator.engine.model.breaks = breaks
    found = run(generator, {})
    assert found.pop(WAITING) == expected[WAITING]
    ended = [prompt for prompt, error in found.items() if isinstance(error, DeviceError)]
    assert FAILING in ended
    assert all(found[prompt] == expected[prompt] for prompt in found if prompt not in ended)


@pytest.mark.parametrize("batch", [(FAILING, OTHER, WAITING), (OTHER, FAILING, WAITING)])
def test_rows_for_which_there_is_no_room_end_alone(generator, expected, batch):
    generator.engine.model.breaks = lambda what, _, *target: what == "copy" and target[0] >= 2
    found = run(generator, {"num_return_sequences": 4}, max_rows=5, batch=batch)
    assert str(found.pop(FAILING)) == "copy breaks"
    assert found == {prompt: expected[prompt] for prompt in found}


@pytest.mark.parametrize("options", [{"num_beams": 6}, {"prompt_lookup_num_tokens": 2}])
def test_a_run_of_its_own_that_cannot_begin_ends_alone(generator, expected, options):
    generator.engine.model.decoders = 0
    generator.engine.model.breaks = lambda what, number, *_: what == "open" and number == 2
    found = run(generator, options)
    assert str(found.pop(FAILING)) == "open breaks"
    assert found == {prompt: expected[prompt] for prompt in found}


@pytest.mark.parametrize(
    "options", [{}, {"num_return_sequences": 2}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 2}]
)
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_text_that_cannot_be_decoded_ends_its_prompt(generator, expected, options, after):
    def decode(ids):
        if ids[:1] == (ord("f"),) and len(ids) > len(FAILING) + after:
            raise TokenizerError("decode breaks")
        return ""  # nothing is certain, so all is decoded again and again

    generator.engine.tokenizer.joins_bytes = False  # as SentencePiece's are
    generator.engine.tokenizer.decode = decode
    found = run(generator, options, max_rows=3)
    assert str(found.pop(FAILING)) == "decode breaks"
    assert found == {prompt: expected[prompt] for prompt in found}


@pytest.mark.parametrize("beams", [1, 2])
def test_a_text_that_cannot_be_finished_ends_its_prompt_where_the_window_ends(generator, expected, beams):
    lengths = []

    def decode(ids):
        if ids[:1] == (ord("f"),):
            lengths.append(len(ids))
            # Candidates for each beam are looked at, then their texts are finished.
            if len(ids) == 65 and lengths.count(65) > 2 * beams - 1:
                raise TokenizerError("decode breaks")
        return "\N{REPLACEMENT CHARACTER}"

    generator.engine.tokenizer.decode = decode
    found = run(
        generator, {"num_beams": beams, "max_new_tokens": 100, "context_overflow": "stop"}, max_rows=3
    )
    assert str(found.pop(FAILING)) == "decode breaks"
    assert found == {prompt: expected[prompt] for prompt in found}


def test_cancelling_goes_on_where_a_text_cannot_be_finished(generator):
    loop = generator.loop(2)
    group = generator.group(FAILING, **OPTIONS)
    loop.add(group)
    loop.advance()

    def decode(_):
        raise TokenizerError("decode breaks")

    group.continuations[0].stream.state = group.continuations[0].stream.state._replace(pending=(1,))
    generator.engine.tokenizer.decode = decode
    group.continuations[0].stream.detokenizer._tokenizer.decode = decode
    loop.cancel(group)
    assert loop.advance() == [group]
    assert loop.idle
    with pytest.raises(TokenizerError):
        group.completions()


def test_a_file_of_prompts_goes_on_after_any_of_them(generator, expected):
    generator.engine.model.breaks = lambda what, _, *ids: what == "prefill" and bytes(ids[0][:2]) == b"fa"
    found = dict(generator.complete_each([(p, OPTIONS) for p in (OTHER, FAILING, WAITING)], batch_size=1))
    assert isinstance(found[1], LLMBuilderError)
    assert [found[n][0].token_ids for n in (0, 2)] == [expected[OTHER], expected[WAITING]]
