"""``/v1/chat/completions``: replies in the form of the model's template."""

import json

import pytest

from llmbuilder.generator import TextGenerator
from llmbuilder.inference import ChatInterface
from llmbuilder.testing import fake_engine, random_rule

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
HELLO = [{"role": "user", "content": "Hello"}]
LONG = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "How?"},
]


def ask(client, messages=HELLO, **body):
    response = client.post("/v1/chat/completions", json={"messages": messages} | body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_reply_is_what_the_chat_says(serving):
    with serving(template=TEMPLATE) as client:
        answer = ask(client, LONG, seed=1, max_tokens=12)
    generator = TextGenerator.from_engine(
        fake_engine(random_rule(), context_length=512, chat_template=TEMPLATE)
    )
    with ChatInterface(generator, system_prompt="Be kind.") as chat:
        said = chat.respond("How?", [{"user": "Hello there", "assistant": "Hi"}], seed=1, max_new_tokens=12)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].strip() == said
    assert answer["object"] == "chat.completion"


def test_a_reply_may_fill_the_rest_of_the_window(serving):
    with serving(window=64) as client:
        answer = ask(client, temperature=0, min_new_tokens=30)
    usage = answer["usage"]
    assert answer["choices"][0]["finish_reason"] in ("length", "stop")
    assert usage["total_tokens"] <= 65


def test_logprobs_come_with_bytes_that_make_the_text(serving):
    with serving() as client:
        (choice,) = ask(client, seed=1, max_tokens=10, logprobs=True, top_logprobs=2)["choices"]
    content = choice["logprobs"]["content"]
    assert (
        bytes(byte for entry in content for byte in entry["bytes"]).decode(errors="replace")
        == choice["message"]["content"]
    )
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)


def test_a_stream_says_who_speaks_and_then_the_same(serving, events):
    body = {"messages": HELLO, "seed": 1, "max_tokens": 15, "n": 2, "logprobs": True}
    with serving() as client:
        whole = ask(client, **body)
        chunks = events(client.post("/v1/chat/completions", json=body | {"stream": True}))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert parts[0]["delta"]["role"] == "assistant"
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"]
        told = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert told == choice["logprobs"]["content"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "x"}],
        [*HELLO, *HELLO],
        [*HELLO, {"role": "assistant", "content": "x"}],
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
        [{"role": "user", "content": "half \ud800"}],
        [{"content": "x"}],
    ],
    ids=range(9),
)
def test_a_conversation_of_another_form_is_refused_with_the_reason(serving, messages):
    with serving() as client:
        response = client.post(
            "/v1/chat/completions",
            content=json.dumps({"messages": messages}),
            headers={"Content-Type": "application/json"},
        )
    assert response.status_code == 400
    assert "message" in response.json()["error"]["message"]


FREE = [
    ["user", "user"],
    ["system", "system", "user"],
    ["user", "assistant"],
    ["assistant", "user"],
    ["user", "system", "user"],
    ["system"],
]


@pytest.mark.parametrize("roles", FREE, ids="-".join)
def test_roles_that_do_not_take_turns_are_what_the_template_says(serving, alone, roles):
    messages = [{"role": role, "content": f"word {number}"} for number, role in enumerate(roles)]
    prompt = "".join(f"{message['role'][0]}:{message['content']}|" for message in messages) + "a:"
    with serving(template=TEMPLATE) as client:
        answer = ask(client, messages, seed=1, max_tokens=5)
    assert answer["choices"][0]["message"]["content"] == alone(prompt, seed=1, max_new_tokens=5)[0].text


@pytest.mark.parametrize(
    ("template", "roles", "reason"),
    [
        ("{{ raise_exception('turns!') }}", ["user", "user"], "turns!"),
        ("{% for m in messages[1:] %}{{ m.content }}{% endfor %}", ["user", "user"], "leaves out, or moves, message 0"),
        ("{% for m in messages | reverse %}{{ m.content }}{% endfor %}", ["user", "user"], "message 1 of 2"),
    ],
    ids=["refused", "left out", "moved"],
)  # fmt: skip
def test_an_order_that_the_template_cannot_say_is_refused_with_its_reason(serving, template, roles, reason):
    always = "{% if messages | length == 1 or messages[1].role == 'assistant' %}" + TEMPLATE
    with serving(template=f"{always}{{% else %}}{template}{{% endif %}}") as client:
        body = {"messages": [{"role": role, "content": "x"} for role in roles]}
        response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert reason in response.json()["error"]["message"]


def test_a_conversation_that_does_not_fit_is_refused(serving):
    with serving(window=64) as client:
        for text in ("x" * 100, "x" * 100_000):
            response = client.post(
                "/v1/chat/completions", json={"messages": [{"role": "user", "content": text}]}
            )
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "context_length_exceeded"


def test_any_json_object_may_be_asked_for(serving):
    pytest.importorskip("llguidance")
    with serving() as client:
        answer = ask(client, seed=1, max_tokens=80, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)


def test_what_a_conversation_begins_with_is_computed_once(serving):
    first = [{"role": "user", "content": "A long first message of a conversation"}]
    second = [*first, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on"}]
    with serving() as client, serving(prefix_cache=0) as without:
        ask(client, first, seed=1, max_tokens=5)
        again = ask(client, second, seed=1, max_tokens=5)
        apart = ask(client, second, seed=1, max_tokens=5, cache_salt="mine")
        plain = ask(without, second, seed=1, max_tokens=5)
    texts = {answer["choices"][0]["message"]["content"] for answer in (again, apart, plain)}
    assert len(texts) == 1
    cached = [a["usage"]["prompt_tokens_details"]["cached_tokens"] for a in (again, apart, plain)]
    assert cached[0] > 30
    assert cached[1:] == [0, 0]
