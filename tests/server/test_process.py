"""``llmb serve`` as a process of its own, called by real clients."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import loaded_llmb
import openai
import pytest
from full_disks import DEVICE

from llmbuilder.generator import TextGenerator

BUNDLE = Path(__file__).parent.parent.parent / "artifacts" / "storyteller" / "bundle"
ENDLESS = {"context_overflow": "slide", "early_stopping": False}


@pytest.fixture(scope="module")
def alone():
    with TextGenerator(BUNDLE, threads=1) as generator:
        yield generator


@pytest.fixture
def client(storyteller):
    with openai.OpenAI(base_url=f"{storyteller.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def numbers(address):
    with urllib.request.urlopen(f"{address}/metrics") as answer:  # noqa: S310
        return dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")


def running(address):
    return float(numbers(address)['llmb:num_requests_running{model_name="tales"}'])


def until(condition):
    while not condition():
        time.sleep(0.02)


class TestOpenAI:
    def test_models(self, client):
        assert [model.id for model in client.models.list()] == ["tales"]
        assert client.models.retrieve("tales").owned_by == "llmbuilder"

    def test_texts_streamed_or_whole_are_those_of_the_library(self, client, alone):
        expected = alone.generate("Once upon a time", seed=1, max_new_tokens=30)
        asked = {"model": "tales", "prompt": "Once upon a time", "seed": 1, "max_tokens": 30}
        assert client.completions.create(**asked).choices[0].text == expected
        stream = client.completions.create(**asked, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == expected

    def test_chats_with_logprobs_and_usage(self, client):
        stream = client.chat.completions.create(
            model="tales",
            messages=[{"role": "user", "content": "Who is there?"}],
            temperature=0,
            max_completion_tokens=12,
            logprobs=True,
            top_logprobs=3,
            stream=True,
            stream_options={"include_usage": True},
        )
        *chunks, last = list(stream)
        told = [
            entry
            for chunk in chunks
            if chunk.choices[0].logprobs
            for entry in chunk.choices[0].logprobs.content
        ]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert "".join(entry.token for entry in told).strip() == text.strip()
        assert all(len(entry.top_logprobs) == 3 for entry in told)
        assert last.usage.completion_tokens >= len(told)

    def test_many_tasks_at_once_get_what_each_gets_alone(self, storyteller, alone):
        prompts = [f"One morning, {number} " for number in range(12)]

        async def main():
            async with openai.AsyncOpenAI(
                base_url=f"{storyteller.address}/v1", api_key="none", max_retries=0
            ) as client:

                async def ask(number, prompt):
                    asked = {"model": "tales", "prompt": prompt, "seed": number, "max_tokens": 20}
                    if number % 2:
                        return (await client.completions.create(**asked)).choices[0].text
                    stream = await client.completions.create(**asked, stream=True)
                    return "".join([chunk.choices[0].text async for chunk in stream])

                return await asyncio.gather(*(ask(number, prompt) for number, prompt in enumerate(prompts)))

        expected = [alone.generate(prompt, seed=n, max_new_tokens=20) for n, prompt in enumerate(prompts)]
        assert asyncio.run(main()) == expected

    def test_errors_are_those_that_the_client_knows(self, client):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nothing")
        with pytest.raises(openai.BadRequestError, match="window") as caught:
            client.chat.completions.create(model="tales", messages=[{"role": "user", "content": "x " * 600}])
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError, match="temperature must be"):
            client.completions.create(model="tales", prompt="x", temperature=-1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_line_that_the_server_says_works(storyteller):
    line = next(line for line in storyteller.log.read_text().splitlines() if line.startswith("  curl "))
    result = subprocess.run([*shlex.split(line), "--silent"], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["usage"]["prompt_tokens"] > 0


def connected(address, **body):
    """A connection over which a request for a long text was sent, and nothing read."""
    host, port = address.removeprefix("http://").split(":")
    content = json.dumps({"prompt": "On and on", **body, **ENDLESS}).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)))
    connection.sendall(head.encode() + content)
    return connection


class TestClientsThatGo:
    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
    def test_their_rows_are_free_again(self, storyteller, stream):
        with connected(storyteller.address, max_tokens=100_000, stream=stream):
            until(lambda: running(storyteller.address) == 1)
        until(lambda: running(storyteller.address) == 0)

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    def test_one_that_is_killed_frees_its_rows(self, storyteller):
        body = json.dumps({"prompt": "On and on", "max_tokens": 100_000, "stream": True, **ENDLESS})
        command = ["curl", "--silent", "--no-buffer", "--header", "Content-Type: application/json"]
        with subprocess.Popen(
            [*command, "--data", body, f"{storyteller.address}/v1/completions"], stdout=subprocess.DEVNULL
        ) as client:
            until(lambda: running(storyteller.address) == 1)
            client.kill()
        until(lambda: running(storyteller.address) == 0)

    def test_one_that_does_not_read_holds_up_nobody(self, storyteller, client):
        with connected(storyteller.address, max_tokens=600, stream=True, logprobs=20):
            until(lambda: running(storyteller.address) == 1)
            for _ in range(3):
                assert (
                    client.completions.create(model="tales", prompt="x", max_tokens=5).usage.completion_tokens
                    > 0
                )
        until(lambda: running(storyteller.address) == 0)


@pytest.mark.parametrize("named", [True, False], ids=["length", "chunks"])
def test_who_sends_too_much_reads_the_answer_nonetheless(storyteller, named):
    host, port = storyteller.address.removeprefix("http://").split(":")
    size = 20 << 20
    length = f"Content-Length: {size}" if named else "Transfer-Encoding: chunked"
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        body = b" " * size
        connection.sendall(head.encode() + (body if named else b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)))
        assert connection.recv(12) == b"HTTP/1.1 413"


class TestEnding:
    def test_what_runs_is_finished_and_nothing_new_begins(self, start_process):
        server = start_process(f"tales={BUNDLE}", "--threads", "1")
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
        stream = client.completions.create(
            model="tales", prompt="On and on", max_tokens=400, stream=True, extra_body=ENDLESS
        )
        next(stream)
        server.tell_to_end()
        with pytest.raises(openai.InternalServerError) as caught:
            until(lambda: client.completions.create(model="tales", prompt="x", max_tokens=1) is None)
        assert caught.value.status_code == 503
        last = list(stream)[-1]
        assert last.choices[0].finish_reason == "length"
        client.close()
        assert server.ended() == 0

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
    def test_clients_of_a_killed_server_hang_not(self, start_process):
        server = start_process(f"tales={BUNDLE}", "--threads", "1")
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
        stream = client.completions.create(
            model="tales", prompt="On and on", max_tokens=100_000, stream=True, extra_body=ENDLESS
        )
        next(stream)
        threading.Timer(0.2, server.kill).start()
        with pytest.raises(Exception, match=r"(?i)closed|read|peer|reset|connection"):
            list(stream)
        client.close()


@DEVICE
def test_a_log_that_finds_no_room_holds_up_nobody():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "llmbuilder_cli", "serve", f"tales={BUNDLE}", "--threads", "1"]
    with Path("/dev/full").open("w") as full:
        server = subprocess.Popen(
            [*command, "--port", address.rsplit(":", 1)[1]], stdout=full, stderr=full, env=os.environ
        )
    try:
        until(lambda: server.poll() is not None or is_there(address))
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            answers = [client.completions.create(model="tales", prompt="x", max_tokens=2) for _ in range(5)]
        assert all(answer.usage.completion_tokens for answer in answers)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


def is_there(address):
    try:
        with urllib.request.urlopen(f"{address}/health") as answer:  # noqa: S310
            return answer.status == 200
    except OSError:
        return False


class TestCommand:
    def test_a_key_from_the_environment_is_wanted_and_not_shown(self, start_process):
        server = start_process(str(BUNDLE), "--threads", "1", LLMB_API_KEY="sesame")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{server.address}/v1/models")  # noqa: S310
        with openai.OpenAI(base_url=f"{server.address}/v1", api_key="sesame") as client:
            assert [model.id for model in client.models.list()] == ["bundle"]
        server.tell_to_end()
        assert server.ended() == 0
        log = server.log.read_text()
        assert "Authorization: Bearer $LLMB_API_KEY" in log
        assert "sesame" not in log

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            ([str(BUNDLE), "--host", "::"], 1, "--no-auth"),
            ([str(BUNDLE), str(BUNDLE)], 2, "Two models are called 'bundle'"),
            (["nowhere"], 1, "nowhere"),
            ([str(BUNDLE), "--max-rows", "0"], 1, "max_rows"),
        ],
        ids=["open", "twice", "nothing", "rows"],
    )
    def test_wrong_usage_says_what_to_do(self, loaded_python, arguments, code, message):
        result = loaded_llmb.run(loaded_python.start, "serve", *arguments)
        assert result.returncode == code
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr

    def test_a_port_that_is_taken_is_said(self, storyteller, loaded_python):
        port = storyteller.address.rsplit(":", 1)[1]
        result = loaded_llmb.run(loaded_python.start, "serve", BUNDLE, "--port", port)
        assert result.returncode == 1
        assert "Choose another with --port" in result.stderr
