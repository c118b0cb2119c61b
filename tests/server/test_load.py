"""Many clients at once, of all kinds, some of which go or ask for nonsense: texts are what prompts give alone."""

import asyncio
from pathlib import Path
from random import Random

import openai
import pytest

from llmbuilder.generator import TextGenerator

BUNDLE = Path(__file__).parent.parent.parent / "artifacts" / "storyteller" / "bundle"
CLIENTS, REQUESTS = 24, 3
STARTS = ("Once upon a time", "The fox", "One morning, the little bird", "In the forest " * 12)


def made(number):
    """A request, and what it means to the library."""
    random = Random(number)
    prompt = f"{random.choice(STARTS)} {number % 7} "
    kind = number % 5
    sent = {"prompt": prompt, "max_tokens": random.randrange(4, 30)}
    meant = {"max_new_tokens": sent["max_tokens"], "context_overflow": "stop"}
    if kind == 0:
        return sent | {"temperature": 0}, meant | {"do_sample": False}
    if kind == 1:
        return sent | {"temperature": 0, "extra_body": {"num_beams": 3}}, meant | {
            "do_sample": False,
            "num_beams": 3,
        }
    if kind == 2:
        return sent | {"seed": number, "n": 2}, meant | {"seed": number, "num_return_sequences": 2}
    return sent | {"seed": number}, meant | {"seed": number}


async def ask(client, number):
    sent, _ = made(number)
    if number % 5 < 4:
        answer = await client.completions.create(model="tales", **sent)
        return [choice.text for choice in answer.choices]
    stream = await client.completions.create(model="tales", stream=True, **sent)
    return ["".join([chunk.choices[0].text async for chunk in stream])]


async def disturb(client, number):
    """Go in the middle of an answer, or ask for nonsense."""
    if number % 2:
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model="tales", prompt="x", temperature=-1)
        return
    stream = await client.completions.create(model="tales", prompt="On and on", max_tokens=200, stream=True)
    await anext(aiter(stream))
    await stream.close()


async def visit(client, visitor, found):
    for turn in range(REQUESTS):
        number = visitor * REQUESTS + turn
        if number % 6 == 5:
            await disturb(client, number // 6)
        else:
            found[number] = await ask(client, number)


def test_every_text_is_what_its_prompt_gives_alone(storyteller):
    found = {}

    async def main():
        url = f"{storyteller.address}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            await asyncio.gather(*(visit(client, visitor, found) for visitor in range(CLIENTS)))

    asyncio.run(main())
    assert len(found) == CLIENTS * REQUESTS * 5 // 6
    with TextGenerator(BUNDLE, threads=1) as generator:
        for number, texts in found.items():
            prompt, options = made(number)[0]["prompt"], made(number)[1]
            assert texts == [completion.text for completion in generator.complete(prompt, **options)]
    assert " 5" not in {
        line.split(" /v1/completions")[-1][:2] for line in storyteller.log.read_text().splitlines()
    }
