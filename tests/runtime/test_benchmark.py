"""`llmbuilder.benchmark`: what is measured, on a clock that only moves when something is done."""

from dataclasses import replace
from pathlib import Path

import pytest
from clocks import Clock

from llmbuilder.benchmark import Plan, RowsReport, Run, measure, measuring, place_of, run_benchmark, spread
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.cuda.card import Card
from llmbuilder.errors import ConfigError, DeviceError
from llmbuilder.testing import ByteTokenizer, FakeDecoder, FakeModel, fake_engine, random_rule, scripted

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
PLAN = Plan(rows=(1, 3), prompt_tokens=10, new_tokens=5, repeat=2)


@pytest.fixture
def clock():
    return Clock()


class TimedDecoder(FakeDecoder):
    """A token of a prompt takes a second, a step ten."""

    def prefill(self, row, ids, keep=1):
        self.model.clock.now += len(ids)
        return super().prefill(row, ids, keep)

    def step(self, tokens):
        self.model.clock.now += 10
        return super().step(tokens)


class TimedModel(FakeModel):
    def __init__(self, clock, rule, **facts):
        super().__init__(rule, **facts)
        self.clock = clock

    def decoder(self, **_):
        return TimedDecoder(self)


class TimedTokenizer(ByteTokenizer):
    """Decoding takes two seconds, whatever it is."""

    def __init__(self, clock):
        self.clock = clock

    def decode(self, ids):
        self.clock.now += 2
        return super().decode(ids)


@pytest.fixture
def engine(clock):
    model = TimedModel(clock, random_rule())
    return replace(fake_engine(random_rule()), model=model)


class TestARun:
    def test_computes_each_prompt_once_and_then_steps_all_rows_together(self, engine, clock):
        measure(engine, 3, PLAN, clock)
        assert (engine.model.prefilled, engine.model.steps, engine.model.most_rows) == (30, 4, 3)

    def test_tells_prompts_from_steps(self, engine, clock):
        assert measure(engine, 3, PLAN, clock) == Run(first_token=30, prefill=30, decode=40, steps=40)

    def test_tells_the_model_from_what_is_around_it(self, engine, clock):
        run = measure(replace(engine, tokenizer=TimedTokenizer(clock)), 1, PLAN, clock)
        assert (run.prefill, run.steps) == (10, 40)
        assert run.decode > 40

    def test_goes_past_the_end_that_the_model_gives_a_text(self, clock):
        model = TimedModel(clock, scripted("a"))
        measure(replace(fake_engine(scripted("a")), model=model), 1, PLAN, clock)
        assert model.steps == 4

    def test_leaves_the_bundles_own_options_out(self, engine, clock):
        defaults = {"num_beams": 4, "max_new_tokens": 2, "stop_strings": ("a",)}
        measure(replace(engine, defaults=defaults), 1, PLAN, clock)
        assert engine.model.steps == 4

    def test_is_refused_where_memory_does_not_hold_all_rows_at_once(self, engine, clock):
        engine.model.budget = 44
        with pytest.raises(ConfigError, match=r"no memory for 3 rows .* Measure fewer rows"):
            measure(engine, 3, PLAN, clock)

    def test_fails_as_the_model_does(self, engine, clock, monkeypatch):
        def fail(self, tokens):
            raise DeviceError("It burns.")

        monkeypatch.setattr(TimedDecoder, "step", fail)
        with pytest.raises(DeviceError, match="It burns"):
            measure(engine, 1, PLAN, clock)


class TestAReport:
    report = RowsReport(
        rows=2,
        prompt_tokens=100,
        new_tokens=11,
        runs=(Run(first_token=5, prefill=4, decode=10, steps=8), Run(3, 2, 20, 19)),
    )

    def test_counts_tokens_of_all_rows(self):
        assert self.report.prefill_tokens_per_second == [50, 100]
        assert self.report.tokens_per_second == [2, 1]

    def test_has_what_one_row_waits_for(self):
        assert self.report.first_token_seconds == [5, 3]
        assert self.report.step_seconds == [1, 2]

    def test_says_which_part_of_a_step_is_not_the_models(self):
        assert self.report.outside_share == pytest.approx([0.2, 0.05])


@pytest.mark.parametrize(
    ("values", "expected"), [([2, 1, 3], (2, 0.5)), ([4], (4, 0)), ([1, 3], (2, 0.5)), ([0, 0], (0, 0))]
)
def test_spread_is_half_of_the_range_as_a_part_of_the_median(values, expected):
    assert spread(values) == expected


class TestAPlan:
    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            ({"rows": ()}, r"rows must be a list of whole numbers, such as \[1, 8\], got \(\)"),
            ({"rows": 8}, "rows must be a list"),
            ({"rows": (1, 0)}, "An entry of rows must be a whole number from 1 to 1024, got 0"),
            ({"prompt_tokens": 0}, "prompt_tokens must be a whole number from 1"),
            ({"new_tokens": 1}, "new_tokens must be a whole number from 2"),
            ({"repeat": 0}, "repeat must be a whole number from 1 to 1000"),
        ],
    )
    def test_refuses_numbers_that_measure_nothing(self, numbers, message):
        with pytest.raises(ConfigError, match=message):
            Plan(**numbers)

    @pytest.mark.parametrize(
        ("window", "prompt", "new"), [(8192, 512, 64), (512, 448, 64), (64, 32, 32), (5, 3, 2), (3, 1, 2)]
    )
    def test_is_cut_to_the_window(self, window, prompt, new):
        plan = Plan().within(window)
        assert (plan.prompt_tokens, plan.new_tokens) == (prompt, new)

    def test_needs_three_tokens(self):
        with pytest.raises(ConfigError, match=r"window of 2 tokens is too small .* --max-context"):
            Plan().within(2)


def test_the_place_is_where_the_bundle_was_opened(make_bundle, engine, monkeypatch):
    some = Card("NVIDIA A", 8, 4, "580.95", "13.0")
    monkeypatch.setattr(measuring, "card", lambda index: some)
    bundle = open_bundle(make_bundle())
    on_cuda = replace(bundle, manifest=replace(bundle.manifest, device="cuda"))
    assert place_of(engine, "auto") == ("cpu", None)
    assert place_of(replace(engine, bundle=bundle), "auto") == ("cpu", None)
    assert place_of(replace(engine, bundle=on_cuda), "cpu") == ("cpu", None)
    assert place_of(replace(engine, bundle=on_cuda), "auto") == ("cuda:0", some)
    assert place_of(replace(engine, bundle=on_cuda), "cuda:2") == ("cuda:2", some)


def test_a_bundle_is_loaded_warmed_up_and_measured_as_often_as_asked():
    told = []
    plan = Plan(rows=(1, 2), prompt_tokens=4, new_tokens=3, repeat=2)
    result = run_benchmark(DEMO, plan, threads=1, progress=told.append)
    assert told == [
        "loading",
        "1 row, warming up",
        "1 row, run 1 of 2",
        "1 row, run 2 of 2",
        "2 rows, warming up",
        "2 rows, run 1 of 2",
        "2 rows, run 2 of 2",
    ]
    assert [(report.rows, len(report.runs)) for report in result.rows] == [(1, 2), (2, 2)]
    assert (result.device, result.threads, result.quantization) == ("cpu", 1, "int8")
    assert result.runtime.startswith("onnxruntime")
    assert result.peak_bytes > result.bundle_bytes > 1_000_000
    assert result.load_seconds > 0


def test_a_window_that_is_smaller_than_the_plan_shortens_it():
    assert run_benchmark(DEMO, Plan(rows=[1], new_tokens=2, repeat=1)).plan.prompt_tokens == 254
