"""From a request's fields to options of `GenerationConfig`."""

from collections.abc import Mapping
from typing import Any

from llmbuilder.checks import nearest
from llmbuilder.config import generation_options
from llmbuilder_server.bodies import Generating
from llmbuilder_server.errors import ApiError
from llmbuilder_server.settings import Settings

IGNORED = frozenset(
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
    ]
)
"""Fields that clients send and that mean nothing here."""
REFUSED = {
    "batch_size": "the server decides how many sequences are decoded at once",
    "use_cache": "it would slow down everybody else and changes no text",
    "prompt_lookup_num_tokens": "it computes apart from everybody else and changes no text",
    "return_full_text": "set echo in /v1/completions instead",
    "num_return_sequences": "set n instead",
}
"""Options that a request cannot have, and why."""
_MOST_TOP_LOGPROBS = 20


def options_of(body: Generating, settings: Settings, *, logprobs: int | None) -> dict[str, Any]:
    """Options of a request, without its number of tokens; those that are absent are the bundle's.

    Raises:
        ApiError: a field that is unknown, cannot be asked for here, or exceeds what the server allows.
    """
    options = _extra(body.model_extra or {})
    options.setdefault("context_overflow", "stop")
    options |= _sampling(body, options, settings)
    if body.stop is not None:
        stops = [body.stop] if isinstance(body.stop, str) else body.stop
        if len(stops) > settings.max_stops:
            raise ApiError(
                400, f"stop may be {settings.max_stops} texts, got {len(stops)}. Give fewer.", param="stop"
            )
        options["stop_strings"] = [*_list(options.get("stop_strings")), *stops] or None
    if logprobs is not None:
        if logprobs > _MOST_TOP_LOGPROBS:
            raise ApiError(
                400, f"At most {_MOST_TOP_LOGPROBS} likeliest tokens can be reported.", param="logprobs"
            )
        options["logprobs"] = logprobs
    limit = options.get("max_time")
    options["max_time"] = (
        settings.running_seconds if limit is None else _least(limit, settings.running_seconds)
    )
    _check_rows(options, settings)
    return options


def token_limit(*given: int | None) -> int | None:
    """The number of new tokens that a request names, under whatever name."""
    return next((number for number in given if number is not None), None)


def check_choices(prompts: int, n: int, settings: Settings) -> None:
    """Refuse a request for more texts than the server allows, or for more rows than there are.

    Raises:
        ApiError: it is one.
    """
    if not 1 <= n <= settings.max_rows:
        raise ApiError(400, f"n must be from 1 to {settings.max_rows}, got {n}.", param="n")
    if prompts * n > settings.max_choices or prompts < 1:
        raise ApiError(
            400,
            f"A request may ask for 1 to {settings.max_choices} texts, not {prompts * n}.",
            param="prompt",
        )


def _extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    known = generation_options()
    options = {}
    for name, value in extra.items():
        if name in REFUSED:
            raise ApiError(400, f"{name} cannot be set for one request: {REFUSED[name]}.", param=name[:64])
        if name in known:
            options[name] = value
        elif name not in IGNORED and value is not None:
            advice = nearest(name, known) or "See /docs for those there are."
            raise ApiError(400, f"Unknown field {name!r}. {advice}", code="unknown_field", param=name[:64])
    return options


def _sampling(body: Generating, options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias"):
        if getattr(body, name) is not None:
            found[name] = getattr(body, name)
    if body.temperature == 0:
        found["do_sample"] = False
    elif body.temperature is not None:
        found["temperature"] = body.temperature
        if "do_sample" not in options:
            found["do_sample"] = True
    if body.logit_bias is not None and len(body.logit_bias) > settings.max_biases:
        raise ApiError(
            400, f"logit_bias may have {settings.max_biases} entries. Give fewer.", param="logit_bias"
        )
    return found


def _check_rows(options: Mapping[str, Any], settings: Settings) -> None:
    beams = options.get("num_beams", 1)
    if isinstance(beams, int) and beams > settings.max_rows:
        raise ApiError(400, f"num_beams may be {settings.max_rows} here, got {beams}.", param="num_beams")


def _least(given: Any, most: float) -> Any:
    return min(given, most) if isinstance(given, int | float) else given


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []
