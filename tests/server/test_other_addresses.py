"""Models, tokens, numbers, the page."""

from html import unescape

import pytest


def test_models_are_listed_and_described(serving):
    with serving(names=("one", "two/x")) as client:
        models = client.get("/v1/models").json()["data"]
        assert [model["id"] for model in models] == ["one", "two/x"]
        assert client.get("/v1/models/two/x").json() == models[1]
        assert client.get("/v1/models/three").json()["error"]["code"] == "model_not_found"
        unnamed = client.post("/v1/completions", json={"prompt": "x"})
        assert "Name a model: one, two/x" in unnamed.json()["error"]["message"]


def test_several_models_answer_at_once(serving, alone):
    with serving(names=("one", "two")) as client:
        for name in ("one", "two"):
            answer = client.post("/v1/completions", json={"model": name, "prompt": "x", "seed": 1}).json()
            assert answer["model"] == name
            assert answer["choices"][0]["text"] == alone("x", seed=1, max_new_tokens=16)[0].text


def test_tokens_and_back(serving):
    with serving() as client:
        answer = client.post("/tokenize", json={"prompt": "Hé</s>"}).json()
        assert answer == {"tokens": [72, 195, 169, 257], "count": 4, "max_model_len": 512}
        assert client.post("/detokenize", json={"tokens": [72, 195, 169]}).json() == {"prompt": "Hé"}
        assert client.post("/detokenize", json={"tokens": [-1]}).status_code == 400
        half = client.post(
            "/tokenize", content=b'{"prompt": "\\ud800"}', headers={"Content-Type": "application/json"}
        )
        assert half.status_code == 400


def test_numbers_count_what_was_done(serving):
    with serving() as client:
        client.post("/v1/completions", json={"prompt": "four", "max_tokens": 3, "min_new_tokens": 3})
        numbers = client.get("/metrics").text.splitlines()
    for line in (
        'llmb:prompt_tokens_total{model_name="fake"} 4.0',
        'llmb:generation_tokens_total{model_name="fake"} 3.0',
        'llmb:num_requests_running{model_name="fake"} 0.0',
        'llmb:num_requests_waiting{model_name="fake"} 0.0',
        'llmb:request_success_total{finished_reason="length",model_name="fake"} 1.0',
        'llmb:time_to_first_token_seconds_count{model_name="fake"} 1.0',
    ):
        assert line in numbers


def test_the_page_names_models_as_text(serving):
    with serving(names=("<script>",)) as client:
        response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;" in response.text
    assert "<script>" not in response.text


def test_the_documentation_has_every_address_and_field_and_loads_nothing(serving):
    with serving() as client:
        response = client.get("/docs")
        schema = client.get("/openapi.json").json()
    page = unescape(response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert [word for word in ("<script", "src=", "http:", "https:") if word in response.text] == []
    for path, methods in schema["paths"].items():
        assert all(f"{method.upper()} {path}" in page for method in methods)
    for name, field in schema["components"]["schemas"]["ChatBody"]["properties"].items():
        assert f"<code>{name}</code>" in page
        assert field.get("description", "") in page
    assert "list of object, required. The conversation" in page


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize"], ids=str)
def test_the_schema_describes_bodies_and_errors(serving, path):
    with serving() as client:
        schema = client.get("/openapi.json").json()
    described = schema["paths"][path]["post"]
    assert "BusyError" in described["responses"]["429"]["description"]
    named = described["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
    assert named.endswith("/ErrorBody")
    assert set(described["responses"]) >= {"200", "400", "401", "404", "413", "415", "422", "429", "503"}
