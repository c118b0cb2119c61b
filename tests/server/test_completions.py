"""``/v1/completions``: texts are what their prompts give alone, in OpenAI's form."""

import pytest

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule
from llmbuilder_server.logprobs import _offsets


def ask(client, **body):
    response = client.post("/v1/completions", json={"model": "fake"} | body)
    assert response.status_code == 200, response.text
    return response.json()


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]


OPTIONS = [
    ({"seed": 1}, {"seed": 1}),
    ({"temperature": 0}, {"do_sample": False}),
    ({"seed": 2, "temperature": 1.3, "top_p": 0.7}, {"seed": 2, "temperature": 1.3, "top_p": 0.7}),
    ({"seed": 3, "top_k": 5, "repetition_penalty": 1.2}, {"seed": 3, "top_k": 5, "repetition_penalty": 1.2}),
    (
        {"temperature": 0, "logit_bias": {"65": 30, "66": -100}},
        {"do_sample": False, "logit_bias": {65: 30, 66: -100}},
    ),
    (
        {"seed": 1, "presence_penalty": 1, "frequency_penalty": -0.5},
        {"seed": 1, "presence_penalty": 1, "frequency_penalty": -0.5},
    ),
    ({"num_beams": 3, "temperature": 0}, {"num_beams": 3, "do_sample": False}),
]


@pytest.mark.parametrize(("sent", "meant"), OPTIONS, ids=str)
def test_a_text_is_what_the_library_gives(serving, alone, sent, meant):
    with serving() as client:
        answer = ask(client, prompt="Once", **sent)
    (completion,) = alone("Once", max_new_tokens=16, **meant)
    (choice,) = answer["choices"]
    assert choice["text"] == completion.text
    assert choice["finish_reason"] == {"eos": "stop", "length": "length"}[completion.finish_reason]
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 4
    assert answer["usage"]["completion_tokens"] == len(completion.token_ids)


def test_prompts_may_be_several_and_ids_and_each_has_n_texts(serving, alone):
    with serving() as client:
        answer = ask(client, prompt=["One", "Two"], n=2, seed=4, max_tokens=7)
        ids = ask(client, prompt=[[79, 110, 101], [84, 119, 111]], n=2, seed=4, max_tokens=7)
        single = ask(client, prompt=[79, 110, 101], n=2, seed=4, max_tokens=7)
    expected = [
        completion.text
        for prompt in ("One", "Two")
        for completion in alone(prompt, seed=4, max_new_tokens=7, num_return_sequences=2)
    ]
    assert texts(answer) == texts(ids) == expected
    assert texts(single) == expected[:2]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 6


def test_greedy_copies_are_equal(serving, alone):
    with serving() as client:
        answer = ask(client, prompt="x", n=3, temperature=0, max_tokens=5)
    assert texts(answer) == [alone("x", do_sample=False, max_new_tokens=5)[0].text] * 3
    assert answer["usage"]["completion_tokens"] == 15


def test_a_stream_says_the_same_in_parts(serving, events):
    body = {"prompt": ["One", "Two"], "n": 2, "seed": 4, "max_tokens": 20, "logprobs": 1}
    with serving() as client:
        whole = ask(client, **body)
        response = client.post(
            "/v1/completions", json=body | {"stream": True, "stream_options": {"include_usage": True}}
        )
    *chunks, last = events(response)
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for name, values in choice["logprobs"].items():
            assert [value for part in parts for value in part["logprobs"][name]] == values
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert len(chunks) > 20


def test_a_stop_string_ends_the_text_before_it(serving, alone):
    text = alone("x", do_sample=False, max_new_tokens=16)[0].text
    with serving() as client:
        answer = ask(client, prompt="x", temperature=0, stop=[text[5:7], "never"])
    assert texts(answer) == [text[: text.index(text[5:7])]]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_echo_puts_the_prompt_before_the_text_once(serving, events):
    with serving() as client:
        plain = ask(client, prompt="Once", seed=1)
        echoed = ask(client, prompt="Once", seed=1, echo=True)
        response = client.post(
            "/v1/completions", json={"prompt": "Once", "seed": 1, "echo": True, "stream": True}
        )
    assert texts(echoed) == ["Once" + texts(plain)[0]]
    assert "".join(c["text"] for chunk in events(response) for c in chunk["choices"]) == texts(echoed)[0]


def test_logprobs_come_with_tokens_and_offsets(serving, alone):
    with serving() as client:
        (choice,) = ask(client, prompt="x", seed=5, logprobs=2)["choices"]
    (completion,) = alone("x", seed=5, logprobs=2, max_new_tokens=16)
    found = choice["logprobs"]
    assert found["token_logprobs"] == pytest.approx([entry.logprob for entry in completion.logprobs])
    assert len(found["top_logprobs"]) == len(found["tokens"])
    for top, entry in zip(found["top_logprobs"], completion.logprobs, strict=True):
        assert max(top.values()) == pytest.approx(entry.top[0][1])
    assert found["text_offset"][0] == 0
    assert found["text_offset"] == sorted(found["text_offset"])


def test_texts_end_at_the_window(serving):
    with serving(window=20) as client:
        answer = ask(client, prompt="0123456789", max_tokens=1000, min_new_tokens=15, seed=1)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 11


@pytest.mark.parametrize("other", [{"max_new_tokens": 3}, {"max_tokens": 3}], ids=str)
def test_the_limit_of_tokens_has_two_names(serving, other):
    with serving() as client:
        assert ask(client, prompt="x", min_new_tokens=3, **other)["usage"]["completion_tokens"] == 3


def test_an_answer_can_be_json_of_a_schema(serving):
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    with serving() as client:
        (text,) = texts(ask(client, prompt="x", seed=1, max_tokens=60, response_format=wanted))
    assert text in ('{"ok": true}', '{"ok": false}')


@pytest.mark.parametrize("n", [1, 2])
def test_echo_with_logprobs_has_those_of_the_prompt_first(serving, events, n):
    body = {"prompt": ["Oncé", "x"], "seed": 5, "logprobs": 2, "echo": True, "n": n, "max_tokens": 4}
    with serving() as client:
        whole = ask(client, **body)
        chunks = events(client.post("/v1/completions", json=body | {"stream": True}))
        plain = ask(client, **body | {"echo": False})
    generator = TextGenerator.from_engine(fake_engine(random_rule(), context_length=512))
    for choice, without in zip(whole["choices"], plain["choices"], strict=True):
        prompt = body["prompt"][choice["index"] // n]
        score = generator.score(prompt, top=2)
        count, found = len(score.token_ids), choice["logprobs"]
        assert choice["text"] == prompt + without["text"]
        assert found["token_logprobs"][:count] == [None, *score.logprobs]
        assert found["top_logprobs"][0] is None
        assert [max(top.values()) for top in found["top_logprobs"][1:count]] == [t[0][1] for t in score.top]
        assert found["text_offset"][: count + 1] == [*[0, 1, 2, 3, 3][:count], len(prompt)]
        assert found["token_logprobs"][count:] == without["logprobs"]["token_logprobs"]
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert [value for part in parts for value in part["logprobs"]["tokens"]] == found["tokens"]


def test_offsets_of_a_prompt_are_those_of_its_characters():
    pieces = [b"<s>", b" Hal", b"\xc3", b"\xa9", b" </s>", b"x"]
    assert _offsets("Halé </s>x", pieces) == [0, 0, 3, 3, 4, 9]
