"""How models write calls, and which form a chat template has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmbuilder.chat.forms import Form, TemplateForm
from llmbuilder.errors import BundleError, ConfigError
from llmbuilder.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class CallForm:
    """A form of calls: ``mark``, ``before``, the function's name, ``between``, arguments as JSON, ``after``.

    ``joint`` stands between two calls, None where there is one at most.
    """

    mark: str
    before: str
    between: str
    after: str
    joint: str | None

    @property
    def is_anywhere(self) -> bool:
        """Whether a call may follow other text; else it is the whole answer."""
        return self.joint is not None

    def write(self, name: str, arguments: str) -> str:
        """A call."""
        return f"{self.mark}{self.before}{name}{self.between}{arguments}{self.after}"


HERMES = CallForm("<tool_call>", '\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n")
"""Of Nous Hermes, Qwen and many others."""
LLAMA = CallForm('{"name": "', "", '", "parameters": ', "}", None)
"""Of Llama 3.1 and later: an answer that begins so is a call."""

_NAME = "look_up"
_ARGUMENTS = {"word": "river", "often": 2}
_WRITTEN = '{"word": "river", "often": 2}'
_DESCRIPTION = "Looks a word up."
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": _DESCRIPTION,
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": _NAME, "arguments": _ARGUMENTS}}
_TRIED: list[Mapping[str, Any]] = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "name": _NAME, "tool_call_id": "call_1", "content": "a stream of water"},
]


def find_form(form: Form, tokenizer: Tokenizer) -> CallForm:
    """The form in which a chat template writes calls, seen from what it makes of one.

    Raises:
        ConfigError: there is none, or another; the message says so.
    """
    said = _rendered(form)
    if said is None or _DESCRIPTION not in said or "a stream of water" not in said:
        raise ConfigError("this model's chat template has no place for tools")
    found = next((known for known in (HERMES, LLAMA) if _is_said(known, said)), None)
    if found is None:
        raise ConfigError(
            "this model's chat template writes calls in another form than Hermes' <tool_call> or Llama 3's JSON"
        )
    if any(token.special for token in tokenizer.find_control(found.write(_NAME, _WRITTEN))):
        raise ConfigError("this model's tokenizer hides the marks of calls, as special tokens, from its text")
    return found


def _rendered(form: Form) -> str | None:
    if not isinstance(form, TemplateForm):
        return None
    try:
        return form.template.render(_TRIED, tools=[_TOOL])
    except BundleError:
        return None


def _is_said(form: CallForm, said: str) -> bool:
    """Whether a call is written so, but for white space."""
    parts = form.write(_NAME, _WRITTEN).split()
    return re.search(r"\s*".join(map(re.escape, parts)), said) is not None
