"""``/v1/chat/completions``."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llmbuilder.decoding.completion import Completion
from llmbuilder_server.answers import REASONS, Frame
from llmbuilder_server.bodies import ChatBody
from llmbuilder_server.conversations import read_messages
from llmbuilder_server.errors import ApiError
from llmbuilder_server.formats import constrained
from llmbuilder_server.generating import answer
from llmbuilder_server.jobs import Part
from llmbuilder_server.logprobs import Spelling, chat_logprobs
from llmbuilder_server.options import check_choices, options_of, token_limit
from llmbuilder_server.routes.common import ERRORS, model_of
from llmbuilder_server.served import Served

router = APIRouter()


@router.post("/v1/chat/completions", responses=ERRORS, summary="Answer in a conversation")
async def chat_completions(request: Request, body: ChatBody) -> Response:
    """Answer the last message of a conversation, in the form of the model's chat template."""
    model = model_of(request, body.model)
    check_choices(1, 1 if body.n is None else body.n, model.settings)
    _check(body)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    options = options_of(body, model.settings, logprobs=logprobs)
    ids = await model.render(*read_messages(body.messages))
    rest = max(1, model.window - len(ids))
    options["max_new_tokens"] = token_limit(
        body.max_completion_tokens, body.max_tokens, options.get("max_new_tokens"), rest
    )
    prompts = await constrained([ids], body.response_format, model)
    frame = Frame(model.name, "chatcmpl", "chat.completion")
    return await answer(
        request, body, model, prompts, model.chat_options(options), frame=frame, writer=ChatWriter(model)
    )


class ChatWriter:
    """Choices of chats."""

    def __init__(self, model: Served) -> None:
        """Write what ``model`` says."""
        self._spelling = Spelling(model)

    def whole(self, index: int, prompt: str, completion: Completion) -> dict[str, Any]:  # noqa: ARG002 (as in texts)
        """A reply."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": chat_logprobs(self._spelling, completion.token_ids, completion.logprobs),
            "finish_reason": REASONS[completion.finish_reason],
        }

    def first(self, choices: int) -> list[dict[str, Any]]:
        """Who speaks."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return [
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            for index in range(choices)
        ]

    def part(self, part: Part) -> dict[str, Any]:
        """A part of a reply."""
        return {
            "index": part.number,
            "delta": {"content": part.text} if part.text else {},
            "logprobs": chat_logprobs(self._spelling, part.ids, part.logprobs),
            "finish_reason": None if part.finish_reason is None else REASONS[part.finish_reason],
        }


def _check(body: ChatBody) -> None:
    if body.tools or body.tool_choice not in (None, "none"):
        raise ApiError(400, "tools are not supported yet. Leave out tools and tool_choice.", param="tools")
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true.", param="top_logprobs")
