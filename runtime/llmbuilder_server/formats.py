"""``response_format``: JSON, of any kind or of a schema, by constraint."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from llmbuilder.constraints.grammar import GrammarRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.errors import ConstraintError
from llmbuilder.generator import ConstrainedPrompt, PromptLike
from llmbuilder_server.errors import ApiError
from llmbuilder_server.served import Served

_PARAM = "response_format"
_Rules = TypeVar("_Rules")


async def constrained(
    prompts: Sequence[PromptLike], wanted: Mapping[str, Any] | None, model: Served
) -> list[PromptLike]:
    """The prompts, each with the constraint if the request asks for one, which is compiled once.

    Raises:
        ApiError: an unknown kind, a schema that is missing, too large, wrong, or takes too long to compile.
    """
    schema = _schema(wanted)
    if schema is None:
        return list(prompts)
    most, written = model.settings.max_schema, json.dumps(schema)
    if len(written) > most:
        raise ApiError(400, f"The schema may have {most} characters of JSON.", param=_PARAM)
    rules = await compiled(
        written, lambda vocabulary: GrammarRules(vocabulary, "json_schema", schema), model, param=_PARAM
    )
    return [_with_rules(prompt, rules) for prompt in prompts]


async def compiled(
    written: str, make: Callable[[Vocabulary], _Rules], model: Served, *, param: str
) -> _Rules:
    """Rules of the field ``param``, made beside everything else, once for all that is ``written`` in the same way.

    Raises:
        ApiError: they are wrong, or take too long to compile.
    """
    try:
        return await model.compile(f"{param} {written}", make)
    except TimeoutError:
        seconds = model.settings.schema_seconds
        raise ApiError(
            400, f"Compiling the schema takes more than {seconds:g} s. Write it simpler.", param=param
        ) from None
    except ConstraintError as error:
        raise ApiError(400, str(error), code="invalid_schema", param=param) from error


def _with_rules(prompt: PromptLike, rules: GrammarRules) -> ConstrainedPrompt:
    assert not isinstance(prompt, ConstrainedPrompt)  # noqa: S101 (requests bring texts and ids)
    return ConstrainedPrompt(prompt, rules.start)


def _schema(wanted: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    kind = "text" if wanted is None else wanted.get("type")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    given = wanted.get("json_schema")
    schema = given.get("schema") if isinstance(given, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise ApiError(
            400,
            'response_format must be {"type": "text"}, {"type": "json_object"}, or '
            '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}.',
            param=_PARAM,
        )
    return schema
