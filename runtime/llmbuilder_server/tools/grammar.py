"""Grammars of calls, in the Lark form of llguidance."""

import json
from collections.abc import Sequence

from llmbuilder.constraints.grammar import GrammarRules
from llmbuilder.constraints.guidance import JSON_FORM, Guidance
from llmbuilder.constraints.late import LateRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.errors import ConstraintError
from llmbuilder_server.tools.forms import CallForm
from llmbuilder_server.tools.request import Calling, Tool

_NAME = "tools"
_TEXT = r"/(.|\n)*/"


def compile_calls(vocabulary: Vocabulary, form: CallForm, wanted: Calling) -> GrammarRules | LateRules:
    """What an answer may be: calls of what is allowed, or free text as well if none is required.

    Raises:
        ConstraintError: a schema is wrong or not supported; the message says which.
        ConfigError: llguidance is not installed.
    """
    _check(vocabulary, wanted.allowed)
    calls = _calls(form, wanted)
    if wanted.is_required:
        source = f"start: {_quoted(form.mark)} calls\n{calls}"
        return GrammarRules(vocabulary, "grammar", source, _NAME)
    free = _free(form)
    begin = f"begin[lazy]: /(.|\\n)*{form.mark}/" if form.is_anywhere else f"begin: {_quoted(form.mark)}"
    whole = f"start: FREE | begin calls\n{begin}\n{free}{calls}"
    return LateRules(vocabulary, whole, f"start: FREE\n{free}", _NAME)


def _check(vocabulary: Vocabulary, tools: Sequence[Tool]) -> None:
    """Compile each schema alone, to tell which is wrong."""
    guidance = Guidance.of(vocabulary)
    for tool in tools:
        try:
            guidance.compile("json_schema", tool.schema)
        except ConstraintError as error:
            raise ConstraintError(f"tools: parameters of {tool.name}: {error}") from error


def _calls(form: CallForm, wanted: Calling) -> str:
    again = f" ({_quoted((form.joint or '') + form.mark)} call)*"
    rules = [
        f"calls: call{again if wanted.is_several and form.joint is not None else ''}",
        f"call: {' | '.join(f'call_{number}' for number in range(len(wanted.allowed)))}",
    ]
    for number, tool in enumerate(wanted.allowed):
        begin = _quoted(f"{form.before}{tool.name}{form.between}")
        schema = json.dumps({**tool.schema, "x-guidance": JSON_FORM})
        rules.append(f"call_{number}: {begin} %json {schema} {_quoted(form.after)}")
    return "\n".join([*rules, ""])


def _free(form: CallForm) -> str:
    """Texts in which no call begins; one that is alone begins a call with its first member."""
    call = rf"/(.|\n)*{form.mark}(.|\n)*/" if form.is_anywhere else r'/\{\s*"name"(.|\n)*/'
    return f"FREE: {_TEXT} & ~{call}\n"


def _quoted(text: str) -> str:
    return json.dumps(text)
