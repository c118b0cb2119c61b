"""``/v1/chat/completions``."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from llmbuilder.decoding.completion import Completion
from llmbuilder.generator import ConstrainedPrompt
from llmbuilder_server.answers import REASONS, Frame
from llmbuilder_server.bodies import ChatBody
from llmbuilder_server.conversations import Said, SaidInAnyOrder, read_messages
from llmbuilder_server.errors import ApiError
from llmbuilder_server.formats import compiled, constrained
from llmbuilder_server.generating import Writer, answer
from llmbuilder_server.jobs import Part
from llmbuilder_server.logprobs import Spelling, chat_logprobs
from llmbuilder_server.options import check_choices, options_of, token_limit
from llmbuilder_server.routes.common import STREAMED, model_of
from llmbuilder_server.served import Served
from llmbuilder_server.tools.forms import CallForm
from llmbuilder_server.tools.grammar import compile_calls
from llmbuilder_server.tools.messages import SaidWithTools, has_calls, read_called
from llmbuilder_server.tools.request import Calling, read_tools
from llmbuilder_server.tools.writer import CallWriter

router = APIRouter()


@router.post("/v1/chat/completions", responses=STREAMED, summary="Answer in a conversation")
async def chat_completions(request: Request, body: ChatBody) -> Response:
    """Answer the last message of a conversation, in the form of the model's chat template."""
    model = model_of(request, body.model)
    check_choices(1, 1 if body.n is None else body.n, model.settings)
    _check(body)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    options = options_of(body, model.settings, logprobs=logprobs)
    calling = read_tools(body, model.settings)
    ids = await model.render(_said(body.messages, calling, model))
    rest = max(1, model.window - len(ids))
    options["max_new_tokens"] = token_limit(
        body.max_completion_tokens, body.max_tokens, options.get("max_new_tokens"), rest
    )
    frame = Frame(model.name, "chatcmpl", "chat.completion")
    writer: Writer = ChatWriter(model)
    if calling is None:
        prompts = await constrained([ids], body.response_format, model)
    else:
        form = _call_form(model)
        rules = await compiled(
            calling.written, lambda known: compile_calls(known, form, calling), model, param="tools"
        )
        prompts, writer = [ConstrainedPrompt(ids, rules.start)], CallWriter(writer, form)
    return await answer(
        request, body, model, prompts, model.chat_options(options), frame=frame, writer=writer
    )


def _said(
    messages: Sequence[Mapping[str, Any]], calling: Calling | None, model: Served
) -> Said | SaidInAnyOrder | SaidWithTools:
    """The conversation; one in which something is or was called needs a form of calls."""
    if calling is None and not has_calls(messages):
        return read_messages(messages)
    _call_form(model)
    return read_called(messages, () if calling is None else calling.tools)


def _call_form(model: Served) -> CallForm:
    if isinstance(model.calls, str):
        raise ApiError(
            400,
            f"tools cannot be used: {model.calls}. Leave out tools and messages about them, or take another model.",
            code="tools_not_supported",
            param="tools",
        )
    return model.calls


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
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true.", param="top_logprobs")
