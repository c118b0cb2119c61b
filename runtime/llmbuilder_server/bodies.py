"""Bodies of requests. Types are checked here, ranges by `GenerationConfig`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """What every body has in common: nothing is converted, and fields beyond the named ones are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = Field(None, description="Name of a model; may be left out where there is only one.")


class ErrorFacts(BaseModel):
    """What went wrong."""

    message: str = Field(description="What was wrong, where, and what to do.")
    type: str
    param: str | None = Field(description="The field that it is about.")
    code: str | None = Field(description="A word for programs.")


class ErrorBody(BaseModel):
    """Body of every answer that is an error."""

    error: ErrorFacts


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class Generating(Body):
    """What all bodies that ask for texts have in common.

    Any option of GenerationConfig that concerns one prompt may be given besides, by its name.
    """

    max_tokens: int | None = Field(None, description="Most new tokens.")
    temperature: float | None = Field(None, description="0 takes the likeliest token.")
    top_p: float | None = None
    n: int | None = Field(None, description="Texts for each prompt.")
    stop: str | list[str] | None = Field(None, description="Texts before which to end.")
    seed: int | None = Field(None, description="Same seed, same text.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = Field(None, description="text, json_object or json_schema.")
    logit_bias: dict[str, float] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    cache_salt: str | None = Field(None, description="Beginnings of prompts are shared within one salt only.")


class CompletionBody(Generating):
    """Body of ``/v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="Text or token ids, or several."
    )
    echo: bool | None = Field(None, description="Put the prompt before the text.")
    logprobs: int | None = Field(None, description="Likeliest tokens to report at each place.")
    best_of: int | None = None
    suffix: str | None = None


class ChatBody(Generating):
    """Body of ``/v1/chat/completions``."""

    messages: list[dict[str, Any]] = Field(
        description="The conversation, the user's last message at its end."
    )
    max_completion_tokens: int | None = Field(None, description="Most new tokens; the newer name.")
    logprobs: bool | None = Field(None, description="Report the log-probability of each token.")
    top_logprobs: int | None = Field(None, description="And of that many of the likeliest at each place.")
    tools: list[dict[str, Any]] | None = Field(None, description="Functions that may be called.")
    tool_choice: str | dict[str, Any] | None = Field(None, description="auto, none, required, or a function.")
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may have several calls.")


class TokenizeBody(Body):
    """Body of ``/tokenize``."""

    prompt: str


class DetokenizeBody(Body):
    """Body of ``/detokenize``."""

    tokens: list[int]
