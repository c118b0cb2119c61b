"""From a job to an answer: whole, or as a stream."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from llmbuilder.decoding.completion import Completion
from llmbuilder.generator import PromptLike
from llmbuilder_server.answers import Frame, SafeJSON
from llmbuilder_server.bodies import Generating
from llmbuilder_server.errors import ApiError
from llmbuilder_server.events import EventStream, GoneError, while_there
from llmbuilder_server.jobs import Job, Part
from llmbuilder_server.served import Served
from llmbuilder_server.settings import Settings

GONE = 499
"""Status in the log of an answer that nobody waited for."""


class Writer(Protocol):
    """How choices look in one of the API's forms."""

    def whole(self, index: int, prompt: str, completion: Completion) -> dict[str, Any]:
        """A text."""
        ...

    def first(self, choices: int) -> list[dict[str, Any]]:
        """Choices of the chunks before any text."""
        ...

    def part(self, part: Part) -> dict[str, Any]:
        """A part of a text."""
        ...


async def answer(
    request: Request,
    body: Generating,
    model: Served,
    prompts: Sequence[PromptLike],
    options: dict[str, Any],
    *,
    frame: Frame,
    writer: Writer,
) -> Response:
    """Continue ``prompts`` and answer in the form that the request asks for.

    Raises:
        LLMBuilderError, ApiError: there is nothing to answer with.
    """
    with_usage = _wants_usage(body)
    async with AsyncExitStack() as stack:
        job = await stack.enter_async_context(
            Job(model, request.app.state.metrics, body.n or 1, _salt(request, body, model.settings))
        )
        try:
            if not body.stream:
                return await while_there(request.receive, _whole(job, prompts, options, frame, writer))
            chunks = _chunks(job, frame, writer, len(prompts) * (body.n or 1), with_usage=with_usage)
            first = await while_there(request.receive, _first(job, prompts, options, chunks))
        except GoneError:
            return Response(status_code=GONE)
        return EventStream(first, chunks, stack.pop_all())


async def _whole(
    job: Job, prompts: Sequence[PromptLike], options: dict[str, Any], frame: Frame, writer: Writer
) -> Response:
    await job.start(prompts, options)
    texts = await job.completions()
    choices = [writer.whole(index, prompt, completion) for index, (prompt, completion) in enumerate(texts)]
    return SafeJSON(frame.whole(choices, job.usage))


async def _first(
    job: Job, prompts: Sequence[PromptLike], options: dict[str, Any], chunks: AsyncIterator[list[Any]]
) -> list[Any]:
    """Wait for the first chunk: until then an error has a status of its own."""
    await job.start(prompts, options)
    return await anext(chunks)


async def _chunks(
    job: Job, frame: Frame, writer: Writer, choices: int, *, with_usage: bool
) -> AsyncIterator[list[Any]]:
    extra = {"usage": None} if with_usage else {}
    before = [frame.chunk([choice], extra) for choice in writer.first(choices)]
    async for parts in job.parts():
        choices_now = [writer.part(part) for part in parts if _says_something(part)]
        told = [frame.chunk([choice], extra) for choice in choices_now if not _is_empty(choice)]
        if before or told:
            yield [*before, *told]
            before = []
    if with_usage:
        yield [frame.chunk([], {"usage": job.usage.content})]


def _salt(request: Request, body: Generating, settings: Settings) -> str:
    """Those of one salt share beginnings of prompts."""
    owner = "" if settings.share_prefixes else request.state.key
    return json.dumps([owner, body.cache_salt])


def _says_something(part: Part) -> bool:
    return bool(part.text or part.finish_reason or part.logprobs)


def _is_empty(choice: Mapping[str, Any]) -> bool:
    """Whether a choice tells nothing yet: its text may become something else."""
    return choice.get("delta") == {} and not choice["finish_reason"] and not choice["logprobs"]


def _wants_usage(body: Generating) -> bool:
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options need stream: true.", param="stream_options")
    return body.stream_options is not None and bool(body.stream_options.include_usage)
