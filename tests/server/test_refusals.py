"""What is refused, with which status, always in OpenAI's form and in our words."""

import json
import threading

import pytest

TEXT = {"prompt": "x", "max_tokens": 2}

BAD_FIELDS = [
    ({"batch_size": 4}, 400, "the server decides"),
    ({"use_cache": False}, 400, "use_cache cannot be set for one request"),
    ({"prompt_lookup_num_tokens": 2}, 400, "changes no text"),
    ({"return_full_text": True}, 400, "echo"),
    ({"num_return_sequences": 2}, 400, "set n"),
    ({"temprature": 1}, 400, "temperature"),
    ({"temperature": -1}, 400, "temperature must be"),
    ({"temperature": float("nan")}, 400, "temperature must be"),
    ({"top_p": 3}, 400, "top_p must be"),
    ({"max_tokens": 0}, 400, "max_new_tokens must be"),
    ({"n": 0}, 400, "n must be from 1"),
    ({"n": 1000}, 400, "n must be from 1"),
    ({"num_beams": 1000}, 400, "num_beams may be"),
    ({"stop": ["x"] * 100}, 400, "stop may be"),
    ({"stop": ""}, 400, "stop_strings must be"),
    ({"logprobs": 100}, 400, "likeliest"),
    ({"echo": True, "logprobs": 1, "truncate_prompt": True}, 400, "echo with logprobs"),
    ({"echo": True, "logprobs": 1, "prompt": "x" * 1000}, 400, "window"),
    ({"presence_penalty": 3}, 400, "presence_penalty must be"),
    ({"logit_bias": {"x": 1}}, 400, "logit_bias must be"),
    ({"logit_bias": {"999": 1}}, 400, "logit_bias: id 999"),
    ({"logit_bias": {str(n): 1 for n in range(2000)}}, 400, "logit_bias may have"),
    ({"suffix": "x"}, 400, "suffix"),
    ({"best_of": 2}, 400, "best_of"),
    ({"stream_options": {"include_usage": True}}, 400, "stream"),
    ({"response_format": {"type": "xml"}}, 400, "response_format must be"),
    ({"response_format": {"type": "json_schema"}}, 400, "response_format must be"),
    ({"prompt": []}, 400, "A request may ask"),
    ({"prompt": ["x"] * 1000}, 400, "A request may ask"),
    ({"prompt": [1000]}, 400, "outside the vocabulary"),
    ({"prompt": "x" * 1000}, 400, "window"),
    ({"prompt": "\ud800"}, 400, "half a character"),
    ({"prompt": 5}, 422, "prompt"),
    ({"temperature": "hot"}, 422, "temperature"),
    ({"n": True}, 422, "n: "),
    ({"max_tokens": 1.5}, 422, "max_tokens"),
    ({"stream": "yes"}, 422, "stream"),
    ({"model": "other"}, 404, "There is no model 'other' here, but fake"),
]


def post(client, body, **headers):
    return client.post(
        "/v1/completions", content=json.dumps(body), headers={"Content-Type": "application/json"} | headers
    )


def refusal(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]
    return error


@pytest.mark.parametrize(("fields", "status", "message"), BAD_FIELDS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("stream", [{}, {"stream": True}], ids=["whole", "stream"])
def test_a_field_that_cannot_be_used_is_named(serving, fields, status, message, stream):
    if stream and ("stream" in fields or "stream_options" in fields):
        pytest.skip("about streaming itself")
    with serving() as client:
        assert message in refusal(post(client, TEXT | fields | stream), status)["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}"],
    ids=range(8),
)
def test_what_is_no_object_of_json_is_refused(serving, body):
    with serving() as client:
        response = client.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["error"]["message"]


def test_other_types_of_content_are_refused(serving):
    with serving() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            refusal(client.post("/v1/completions", content=b"{}", headers={"Content-Type": kind}), 415)


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(serving):
    with serving(max_body=100) as client:
        refusal(post(client, {"prompt": "x" * 200}), 413)
        pieces = (b"x" * 60 for _ in range(3))
        refusal(
            client.post("/v1/completions", content=pieces, headers={"Content-Type": "application/json"}), 413
        )
        assert post(client, TEXT).status_code == 200


def test_bodies_of_all_requests_together_have_a_bound_and_are_forgotten_at_their_ends(serving, gated):
    with serving(gated, max_bodies=1000) as client:
        large = TEXT | {"prompt": "x" * 400, "user": "x" * 400}
        first = threading.Thread(target=post, args=(client, large))
        first.start()
        model = client.server.app.state.models["fake"]
        while sum(model.generator.load) == 0:
            pass
        response = post(client, large)
        assert refusal(response, 429)["code"] == "overloaded"
        assert response.headers["retry-after"]
        gated.may.set()
        first.join()
        assert [post(client, large).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/completions", "/etc/passwd", "/../x"], ids=str)
def test_other_addresses_are_not_found(serving, path):
    with serving() as client:
        refusal(client.get(path), 404)


def test_more_than_may_wait_are_told_to_come_again(serving, gated):
    with serving(gated, max_rows=1, max_waiting=0) as client:
        first = threading.Thread(target=post, args=(client, TEXT))
        first.start()
        model = client.server.app.state.models["fake"]
        while sum(model.generator.load) == 0:
            pass
        response = post(client, TEXT)
        gated.may.set()
        first.join()
        assert refusal(response, 429)["type"] == "rate_limit_error"
        assert response.headers["retry-after"]
        assert post(client, TEXT).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_waits_for_too_long_is_told_so(serving, stream):
    with serving(max_rows=1, waiting_seconds=0.05) as client:
        endless = {"prompt": "x", "max_tokens": 100_000, "context_overflow": "slide", "early_stopping": False}
        running = threading.Thread(target=post, args=(client, endless | {"max_time": 1}))
        running.start()
        model = client.server.app.state.models["fake"]
        while model.generator.load[0] == 0:
            pass
        assert "has waited" in refusal(post(client, TEXT | {"stream": stream}), 429)["message"]
        running.join()


def test_a_server_that_ends_takes_nothing_new(serving):
    with serving() as client:
        assert client.get("/ready").status_code == 200
        client.server.ending.begun = True
        assert refusal(post(client, TEXT), 503)["code"] == "ending"
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200


def test_tools_are_refused_by_name_where_the_template_has_none(serving):
    with serving() as client:
        body = {
            "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        }
        assert "tools" in refusal(client.post("/v1/chat/completions", json=body), 400)["message"]


def test_a_schema_that_is_wrong_or_too_large_is_refused(serving):
    pytest.importorskip("llguidance")

    def wanted(schema):
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}

    with serving(max_schema=200) as client:
        assert refusal(post(client, TEXT | wanted({"type": "nothing"})), 400)["param"] == "response_format"
        assert "characters" in refusal(post(client, TEXT | wanted({"enum": ["x" * 300]})), 400)["message"]
        assert "more new tokens" in refusal(post(client, TEXT | wanted({"enum": ["x" * 30]})), 400)["message"]


def test_a_model_that_fails_is_a_503(serving):
    def broken(_):
        raise ZeroDivisionError

    with serving(broken) as client:
        assert refusal(post(client, TEXT), 503)["type"] == "server_error"
        assert refusal(post(client, TEXT | {"stream": True}), 503)["code"] == "model_failed"


def test_a_schema_that_takes_long_is_refused_and_holds_up_nobody(serving, monkeypatch):
    may = threading.Event()
    monkeypatch.setattr("llmbuilder_server.formats.GrammarRules", lambda *_: may.wait())
    wanted = {"response_format": {"type": "json_object"}}
    with serving(schema_seconds=0.05) as client:
        assert "takes more than" in refusal(post(client, TEXT | wanted), 400)["message"]
        assert post(client, TEXT).status_code == 200
        may.set()
