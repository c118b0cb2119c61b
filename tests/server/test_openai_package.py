"""The package openai, sync and async: answers of a schema, calls of tools, streams and log-probabilities of both."""

import asyncio
import json
import shutil
import subprocess

import openai
import pytest
from listening import fake_generator, listening
from pydantic import BaseModel

from llmbuilder.inference import ChatInterface

ASKED = {"model": "fake", "messages": [{"role": "user", "content": "Once upon a time"}], "seed": 1}


class Answer(BaseModel):
    ok: bool


TOOL = openai.pydantic_function_tool(Answer, name="answer")


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("llguidance")
    with listening() as address:
        yield address


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def asynchronously(address):
    """Run something with a client for asyncio."""

    def run(ask):
        async def main():
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                return await ask(client)

        return asyncio.run(main())

    return run


def test_an_answer_of_a_schema_is_an_object_of_its_class(client, asynchronously):
    wanted = ASKED | {"max_tokens": 100, "response_format": Answer}
    (choice,) = client.chat.completions.parse(**wanted).choices
    assert isinstance(choice.message.parsed, Answer)
    other = asynchronously(lambda client: client.chat.completions.parse(**wanted))
    assert other.choices[0].message.parsed == choice.message.parsed


def test_a_call_has_arguments_of_its_schema_whole_and_as_a_stream(client):
    wanted = ASKED | {"max_tokens": 200, "tools": [TOOL], "tool_choice": "required"}
    (choice,) = client.chat.completions.parse(**wanted, parallel_tool_calls=False).choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert isinstance(call.function.parsed_arguments, Answer)
    stream = client.chat.completions.create(**wanted, parallel_tool_calls=False, stream=True)
    deltas = [chunk.choices[0].delta.tool_calls for chunk in stream if chunk.choices[0].delta.tool_calls]
    assert deltas[0][0].function.name == "answer"
    arguments = "".join(delta[0].function.arguments or "" for delta in deltas)
    assert json.loads(arguments) == json.loads(call.function.arguments)


def test_tasks_get_streams_with_log_probabilities_that_are_what_the_library_gives(asynchronously):
    wanted = ASKED | {"max_tokens": 12, "logprobs": True, "top_logprobs": 2, "stream": True}

    async def ask(client):
        stream = await client.chat.completions.create(**wanted)
        return [chunk.choices[0] async for chunk in stream]

    choices = asynchronously(ask)
    with ChatInterface(fake_generator()) as chat:
        reply = chat.respond("Once upon a time", [], seed=1, max_new_tokens=12)
    assert "".join(choice.delta.content or "" for choice in choices).strip() == reply
    told = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    assert told
    assert all(len(entry.top_logprobs) == 2 for entry in told)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_shows_a_stream_to_its_end(address):
    body = json.dumps({"prompt": "Once", "seed": 1, "max_tokens": 5, "stream": True})
    command = ["curl", "--silent", "--no-buffer", f"{address}/v1/completions", "--data", body]
    done = subprocess.run(
        [*command, "--header", "Content-Type: application/json"], capture_output=True, text=True, check=True
    )
    *events, last = done.stdout.split("\n\n")[:-1]
    assert last == "data: [DONE]"
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events]
    assert "".join(texts) == fake_generator().generate("Once", seed=1, max_new_tokens=5)
