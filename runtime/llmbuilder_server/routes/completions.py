"""``/v1/completions``."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llmbuilder.decoding.completion import Completion
from llmbuilder.generator import Score
from llmbuilder_server.answers import REASONS, Frame
from llmbuilder_server.bodies import CompletionBody
from llmbuilder_server.errors import ApiError
from llmbuilder_server.events import GoneError, while_there
from llmbuilder_server.formats import constrained
from llmbuilder_server.generating import GONE, answer
from llmbuilder_server.jobs import Part
from llmbuilder_server.logprobs import Spelling, TextLogprobs, joined, prompt_logprobs
from llmbuilder_server.options import check_choices, options_of, token_limit
from llmbuilder_server.routes.common import STREAMED, model_of
from llmbuilder_server.served import Served

router = APIRouter()
DEFAULT_TOKENS = 16


@router.post("/v1/completions", responses=STREAMED, summary="Continue prompts")
async def completions(request: Request, body: CompletionBody) -> Response:
    """Continue one or several prompts."""
    model = model_of(request, body.model)
    prompts = _prompts(body.prompt)
    check_choices(len(prompts), 1 if body.n is None else body.n, model.settings)
    _check(body)
    options = options_of(body, model.settings, logprobs=body.logprobs)
    options["max_new_tokens"] = token_limit(body.max_tokens, options.get("max_new_tokens"), DEFAULT_TOKENS)
    frame = Frame(model.name, "cmpl", "text_completion")
    writer = TextWriter(model, body.n or 1, echo=bool(body.echo))
    if body.echo and body.logprobs is not None:
        try:
            writer.scores = await while_there(request.receive, _scores(model, prompts, body.logprobs))
        except GoneError:
            return Response(status_code=GONE)
    prompts_like = await constrained(prompts, body.response_format, model)
    return await answer(request, body, model, prompts_like, options, frame=frame, writer=writer)


class TextWriter:
    """Choices of completions."""

    def __init__(self, model: Served, n: int, *, echo: bool) -> None:
        """Write what ``model`` says, ``n`` texts for each prompt, after the prompt if that is to be echoed."""
        self._spelling = Spelling(model)
        self._n = n
        self._echo = echo
        self.scores: list[Score] = []
        """Of the prompts, whose log-probabilities come before those of the texts."""
        self._logprobs: dict[int, TextLogprobs] = {}

    def whole(self, index: int, prompt: str, completion: Completion) -> dict[str, Any]:
        """A text."""
        found = (completion.text, completion.token_ids, completion.logprobs, completion.finish_reason)
        return self.part(Part(index, prompt, *found))

    def first(self, choices: int) -> list[dict[str, Any]]:  # noqa: ARG002 (texts begin with themselves)
        """Nothing."""
        return []

    def part(self, part: Part) -> dict[str, Any]:
        """A part of a text; its first begins with the prompt."""
        is_first = part.number not in self._logprobs
        before = part.prompt if self._echo and is_first else ""
        if is_first:
            self._logprobs[part.number] = TextLogprobs(self._spelling, len(before))
        logprobs = self._logprobs[part.number].take(part.ids, part.logprobs)
        if is_first and self.scores:
            of_prompt = prompt_logprobs(self._spelling, part.prompt, self.scores[part.number // self._n])
            logprobs = joined(of_prompt, logprobs)
        return {
            "index": part.number,
            "text": before + part.text,
            "logprobs": logprobs,
            "finish_reason": None if part.finish_reason is None else REASONS[part.finish_reason],
        }


async def _scores(model: Served, prompts: Sequence[str | Sequence[int]], top: int) -> list[Score]:
    return [await model.score(prompt, top) for prompt in prompts]


def _prompts(given: str | list[str] | list[int] | list[list[int]]) -> list[str | Sequence[int]]:
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(part, int) for part in given):
        return [[part for part in given if isinstance(part, int)]]
    return [part for part in given if not isinstance(part, int)]


def _check(body: CompletionBody) -> None:
    if body.suffix:
        raise ApiError(400, "suffix is not supported: models here continue texts.", param="suffix")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(400, "best_of is not supported. Set n, and choose.", param="best_of")
    if body.echo and body.logprobs is not None and (body.model_extra or {}).get("truncate_prompt"):
        raise ApiError(
            400, "echo with logprobs needs the whole prompt. Leave out truncate_prompt.", param="echo"
        )
