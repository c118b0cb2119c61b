"""``/tokenize`` and ``/detokenize``."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from llmbuilder.checks import check_text
from llmbuilder.decoding.prompt import check_ids
from llmbuilder_server.answers import SafeJSON
from llmbuilder_server.bodies import DetokenizeBody, TokenizeBody
from llmbuilder_server.routes.common import ERRORS, model_of

router = APIRouter()


@router.post("/tokenize", responses=ERRORS, summary="Text to token ids")
async def tokenize(request: Request, body: TokenizeBody) -> Response:
    """Token ids of a prompt, as generating has them."""
    model = model_of(request, body.model)
    ids = await asyncio.to_thread(model.tokenizer.encode, check_text("prompt", body.prompt))
    return SafeJSON({"tokens": ids, "count": len(ids), "max_model_len": model.window})


@router.post("/detokenize", responses=ERRORS, summary="Token ids to text")
async def detokenize(request: Request, body: DetokenizeBody) -> Response:
    """Text of token ids, without control tokens."""
    model = model_of(request, body.model)
    check_ids("tokens", body.tokens, model.engine.usable_vocab)
    return SafeJSON({"prompt": await asyncio.to_thread(model.tokenizer.decode, body.tokens)})
