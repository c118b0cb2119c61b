"""Streams, tasks and forked children, and what others say when some of them are given up."""

import asyncio
import multiprocessing
from typing import Any

from cudacheck.demo import Demo
from llmbuilder.errors import DeviceError
from llmbuilder.scheduling.asynchronous import AsyncTextGenerator

_PATIENCE = 20
"""Seconds after which a child is taken to hang."""


def streams(demo: Demo) -> None:
    """The pieces of a stream are the text; one that is left early harms nothing."""
    options: dict[str, Any] = {"seed": 9, "max_new_tokens": demo.tokens}
    text = demo.generator.generate(demo.prompts[2], **options)
    stream = demo.generator.stream(demo.prompts[2], **options)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    joined = "".join(demo.generator.stream(demo.prompts[2], **options))
    demo.section.check("a stream is the text", joined == text)


def cancelled_tasks(demo: Demo) -> None:
    """Tasks that are cancelled leave the others as they would be alone."""
    options: dict[str, Any] = {"seed": 4, "max_new_tokens": demo.tokens}
    alone = demo.texts(demo.prompts, **options)

    async def together() -> list[Any]:
        async with AsyncTextGenerator(demo.engine, max_rows=4) as generator:
            tasks = [asyncio.create_task(generator.generate(prompt, **options)) for prompt in demo.prompts]
            await asyncio.sleep(0.01)
            for task in tasks[::3]:
                task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(together())
    cancelled = sum(isinstance(text, BaseException) for text in found[::3])
    pairs = [(a, b) for i, (a, b) in enumerate(zip(alone, found, strict=True)) if i % 3]
    equal = sum(a == b for a, b in pairs)
    passed = equal == len(pairs) and cancelled > 0
    demo.section.check("tasks beside cancelled ones", passed, equal=equal, cancelled=cancelled)


def cancelled_groups(demo: Demo) -> None:
    """A group that is cancelled in a loop fed by hand."""
    options: dict[str, Any] = {"seed": 6, "max_new_tokens": demo.tokens}
    loop = demo.generator.loop(2)
    first, second = (demo.generator.group(prompt, **options) for prompt in demo.prompts[:2])
    loop.add(first)
    loop.add(second)
    for _ in range(3):
        loop.advance()
    loop.cancel(first)
    while not loop.idle:
        loop.advance()
    (completion,) = second.completions()
    alone = demo.generator.generate(demo.prompts[1], **options)
    reason = first.completions()[0].finish_reason
    demo.section.check("a cancelled group", completion.text == alone and reason == "cancelled", reason=reason)


def forked_children(demo: Demo) -> None:
    """A child is told that a card cannot be used in it, and ends; its parent goes on."""
    options: dict[str, Any] = {"seed": 8, "max_new_tokens": demo.tokens}
    before = demo.generator.generate(demo.prompts[0], **options)
    forking = multiprocessing.get_context("fork")
    receiver, sender = forking.Pipe(duplex=False)

    def child() -> None:
        try:
            sender.send(demo.generator.generate(demo.prompts[0], **options))
        except DeviceError as error:
            sender.send(str(error))

    process = forking.Process(target=child)
    process.start()
    told = str(receiver.recv()) if receiver.poll(_PATIENCE) else "nothing"
    process.join(_PATIENCE)
    after = demo.generator.generate(demo.prompts[0], **options)
    passed = "after the fork" in told and process.exitcode == 0 and after == before
    demo.section.check("a forked child", passed, told=told, exit_code=process.exitcode)
