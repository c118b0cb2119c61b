"""Who may come in: addresses, names, origins, keys."""

import logging

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder_server.settings import Settings

TEXT = {"prompt": "a secret prompt", "max_tokens": 2}
PATHS = ["/v1/models", "/metrics", "/docs", "/openapi.json", "/"]


@pytest.mark.parametrize("host", ["::", "192.168.1.5", "example.org"], ids=str)
def test_others_may_come_only_with_a_key_or_by_name(host):
    with pytest.raises(ConfigError, match="--api-key"):
        Settings(host=host)
    Settings(host=host, api_keys=("k",))
    Settings(host=host, no_auth=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"], ids=str)
def test_this_machine_needs_none(host):
    Settings(host=host)


@pytest.mark.parametrize("key", ["", "ключ", "a\nb"], ids=repr)
def test_a_key_that_no_header_holds_is_refused(key):
    with pytest.raises(ConfigError, match="key"):
        Settings(api_keys=("good", key))


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_with_a_key_nothing_answers_without_it_but_health(serving, path):
    with serving(api_keys=("other", "right")) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "right"},
            {"Authorization": "Bearer"},
        ):
            response = client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["type"] == "authentication_error"
        assert client.get(path, headers={"Authorization": "Bearer right"}).status_code == 200
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


@pytest.mark.parametrize("share", [False, True], ids=["apart", "shared"])
def test_clients_of_different_keys_share_beginnings_of_prompts_only_if_they_may(serving, share):
    body = {"prompt": "once upon a time there was a little fox", "max_tokens": 2}

    def reused(client, key):
        answer = client.post("/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"})
        return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    with serving(api_keys=("one", "two"), share_prefixes=share, prefix_cache=1 << 20) as client:
        assert reused(client, "one") == 0
        assert (reused(client, "two") > 0) == share
        assert reused(client, "two") > 0


def test_only_known_names_are_answered(serving):
    with serving(host_names=("Tales.example",)) as client:
        for name in (
            "localhost",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]:5",
            "tales.example",
            "TALES.example:80",
        ):
            assert client.get("/v1/models", headers={"Host": name}).status_code == 200
        for name in ("evil.example", "localhost.evil.example", "localhost:x", ""):
            response = client.get("/v1/models", headers={"Host": name})
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "unknown_host"
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 200


def test_pages_of_other_origins_are_refused_unless_named(serving):
    with serving(cors=("https://friend.example",)) as client:
        own, friend = {"Origin": "http://localhost"}, {"Origin": "https://friend.example"}
        assert client.post("/v1/completions", json=TEXT, headers=own).status_code == 200
        answer = client.post("/v1/completions", json=TEXT, headers=friend)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        for origin in ("https://evil.example", "null", "http://localhost:99"):
            response = client.post("/v1/completions", json=TEXT, headers={"Origin": origin})
            assert response.json()["error"]["code"] == "unknown_origin"
            assert "access-control-allow-origin" not in response.headers


def test_without_cors_no_page_may_read(serving):
    with serving() as client:
        response = client.post("/v1/completions", json=TEXT, headers={"Origin": "http://localhost"})
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_log_has_ids_but_neither_texts_nor_keys(serving, caplog):
    with caplog.at_level(logging.INFO), serving(api_keys=("right-key",)) as client:
        headers = {"Authorization": "Bearer right-key", "X-Request-Id": "mine-1"}
        assert client.post("/v1/completions", json=TEXT, headers=headers).headers["x-request-id"] == "mine-1"
        assert (
            client.get(
                "/a-secret-prompt?key=right-key", headers=headers | {"X-Request-Id": "two\twords"}
            ).status_code
            == 404
        )
    lines = [record.getMessage() for record in caplog.records if record.name == "llmbuilder_server.access"]
    assert "POST /v1/completions 200" in lines[0]
    assert lines[0].endswith("mine-1")
    assert "secret" not in "".join(lines)
    assert "right-key" not in "".join(lines)
    assert "two" not in lines[1]
