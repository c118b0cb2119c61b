from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

often = settings(max_examples=60, derandomize=True)

ids = st.lists(st.integers(97, 122), min_size=1, max_size=10)
options = st.fixed_dictionaries(
    {"max_new_tokens": st.integers(1, 8), "seed": st.integers(0, 3)},
    optional={
        "do_sample": st.just(True),
        "num_return_sequences": st.integers(1, 3),
        "temperature": st.sampled_from([0.5, 2.0]),
        "top_k": st.sampled_from([0, 1, 5]),
        "repetition_penalty": st.just(1.5),
        "stop_strings": st.sampled_from(["a", ["bc", "q"]]),
        "early_stopping": st.booleans(),
        "use_cache": st.booleans(),
        "context_overflow": st.sampled_from(["slide", "stop"]),
        "logprobs": st.integers(0, 2),
        "return_full_text": st.booleans(),
    },
)
beams = st.fixed_dictionaries(
    {"max_new_tokens": st.integers(1, 8), "num_beams": st.integers(2, 3), "do_sample": st.just(False)},
    optional={"num_return_sequences": st.integers(1, 2), "use_cache": st.booleans()},
)
requests = st.lists(st.tuples(ids, options | beams), min_size=1, max_size=6)


def make(window):
    return TextGenerator.from_engine(fake_engine(random_rule(), context_length=window))


def told(completions):
    """Everything of completions but times."""
    return [(c.text, c.token_ids, c.logprobs, c.finish_reason, c.prompt_tokens) for c in completions]


@often
@given(requests, st.integers(1, 5))
def test_any_mix_of_requests_in_one_batch_gives_what_each_gives_alone(requests, batch_size):
    generator = make(window=12)
    together = generator.complete_batch(
        [p for p, _ in requests], [o for _, o in requests], batch_size=batch_size
    )
    alone = [generator.complete(prompt, **options) for prompt, options in requests]
    assert [told(each) for each in together] == [told(each) for each in alone]


@often
@given(requests, st.integers(1, 5))
def test_live_rows_never_exceed_the_batch_size_unless_one_prompt_needs_more(requests, batch_size):
    generator = make(window=12)
    generator.complete_batch([p for p, _ in requests], [o for _, o in requests], batch_size=batch_size)
    widest = max(o.get("num_beams", o.get("num_return_sequences", 1)) for _, o in requests)
    assert generator._engine.model.most_rows <= max(batch_size, widest)


@often
@given(ids, st.integers(10, 14), st.integers(1, 30))
@example([97], 1, 10)
@example([97], 2, 10)
@example([97], 3, 10)
def test_a_sliding_window_keeps_its_last_three_quarters_and_goes_on(prompt, window, count):
    row, text = list(prompt), list(prompt)
    for _ in range(count):
        text.append(int(random_rule()(row).argmax()))
        row.append(text[-1])
        if len(row) > window:
            row = row[-max(1, window - max(1, window // 4)) :]
    found = make(window).complete(prompt, max_new_tokens=count, do_sample=False, early_stopping=False)
    assert found[0].token_ids == tuple(text[len(prompt) :])


@often
@given(ids, st.integers(10, 14), st.integers(1, 30))
def test_without_cache_each_token_follows_from_the_last_window(prompt, window, count):
    text = list(prompt)
    for _ in range(count):
        text.append(int(random_rule()(text[-window:]).argmax()))
    options = {"max_new_tokens": count, "do_sample": False, "early_stopping": False, "use_cache": False}
    assert make(window).complete(prompt, **options)[0].token_ids == tuple(text[len(prompt) :])


@often
@given(ids, options)
def test_streamed_pieces_joined_are_the_text(prompt, options):
    options = {name: value for name, value in options.items() if name != "num_return_sequences"}
    generator = make(window=12)
    assert "".join(generator.stream(prompt, **options)) == generator.complete(prompt, **options)[0].text


@often
@given(st.lists(st.integers(97, 99), min_size=1, max_size=10), options, st.integers(1, 6))
def test_speculation_changes_nothing_but_the_work(prompt, options, drafted):
    plain = {n: v for n, v in options.items() if n not in ("num_return_sequences", "use_cache")}
    generator = make(window=12)
    speculated = generator.complete(prompt, prompt_lookup_num_tokens=drafted, **plain)
    assert told(speculated) == told(generator.complete(prompt, **plain))
