"""Whatever a body holds, the answer is a documented one, and the server goes on."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tool_templates import HERMES

from llmbuilder.config import generation_options
from llmbuilder_server.bodies import ChatBody, CompletionBody

DOCUMENTED = {200, 400, 404, 413, 415, 422, 429}
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "fake",
            "stop",
            "text",
            "user",
            "assistant",
            "json_object",
            "\ud800",
            "</s>",
            "function",
            "required",
            "tool",
        ]
    ),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    *("type", "role", "content", "text", "schema", "json_schema", "5", "include_usage"),
                    *("function", "name", "parameters", "arguments", "tool_calls", "id", "tool_call_id"),
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=20) | VALUES}
    ),
    max_size=4,
)


def bodies(kind, usual):
    names = st.sampled_from([*kind.model_fields, *generation_options()]) | st.text(max_size=8)
    return st.builds(lambda most, odd: most | odd, usual, st.dictionaries(names, VALUES, max_size=3))


TEXTS = bodies(
    CompletionBody,
    st.fixed_dictionaries({"prompt": st.text(max_size=30) | VALUES, "max_tokens": st.integers(1, 4)}),
)
CHATS = bodies(ChatBody, st.fixed_dictionaries({"messages": MESSAGES, "max_tokens": st.integers(1, 4)}))

FUNCTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from("fg")}, optional={"parameters": VALUES, "strict": VALUES}
)
TOOLS = st.lists(
    st.builds(lambda function: {"type": "function", "function": function}, FUNCTIONS | VALUES), max_size=3
)
CALL_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool"])},
        optional={"content": st.text(max_size=9), "tool_calls": TOOLS | VALUES, "tool_call_id": VALUES},
    ),
    max_size=4,
)
CALLS = bodies(
    ChatBody,
    st.fixed_dictionaries(
        {"messages": MESSAGES | CALL_MESSAGES, "tools": TOOLS, "max_tokens": st.integers(1, 4) | st.just(90)},
        optional={"tool_choice": st.sampled_from(["auto", "required", "none"]) | VALUES},
    ),
)


@pytest.fixture(scope="module")
def limited():
    return {"running_seconds": 1.0, "schema_seconds": 5.0, "max_rows": 4}


@pytest.mark.parametrize(
    ("path", "made", "template"),
    [
        ("/v1/completions", TEXTS, None),
        ("/v1/chat/completions", CHATS, None),
        ("/v1/chat/completions", CALLS, HERMES),
    ],
    ids=["texts", "chats", "calls"],
)
def test_every_answer_is_a_documented_one(serving, limited, proving, path, made, template):
    with serving(window=1024 if template else 64, template=template, **limited) as client:

        @settings(max_examples=3400 if proving else 150, suppress_health_check=list(HealthCheck))
        @given(made)
        def check(body):
            content = json.dumps(body).encode()
            response = client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert response.status_code in DOCUMENTED, response.text
            if response.status_code != 200:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
            elif not response.headers["content-type"].startswith("text/event-stream"):
                assert response.json()["choices"]

        check()
        assert client.post("/v1/completions", json={"prompt": "x", "max_tokens": 1}).status_code == 200
