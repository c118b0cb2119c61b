"""How a model wants a conversation: as its own template says, or as plain lines for models without one."""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from llmbuilder.chat.conversation import Turn
from llmbuilder.chat.template import ChatTemplate, Message
from llmbuilder.closing import undone_on_error
from llmbuilder.config import GenerationConfig
from llmbuilder.engine import Engine
from llmbuilder.errors import BundleError, ConfigError
from llmbuilder.tokenizer import Tokenizer

_ROLES = ("System", "User", "Assistant")
_SPACES = " \n\t\r\v\f\N{NO-BREAK SPACE}\N{LINE SEPARATOR}\N{IDEOGRAPHIC SPACE}"
_FIRST = "\U000f0000"
_HIDDEN = re.compile("([\U000f0000-\U000ffffd])")
"""Private characters, each of which stands for a text while a template is rendered."""
_MOST_HIDDEN = 0xFFFD


class Form(Protocol):
    """From a conversation to a prompt."""

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """What a model says when it goes on with somebody else's turn."""
        ...

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a turn, whether or not they end a text."""
        ...

    def encode(self, system: str | None, turns: Sequence[Turn], user: str) -> list[int]:
        """Token ids up to where the assistant answers ``user``. No text of the arguments becomes a control token."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def make_form(engine: Engine) -> Form:
    """The form of a model.

    Raises:
        BundleError: its chat template cannot be rendered, or leaves out what the user says.
    """
    if engine.chat_template is None:
        return PlainForm(engine.tokenizer)
    return TemplateForm(engine, engine.chat_template)


def ending_options(form: Form, engine: Engine, config: GenerationConfig) -> dict[str, Any]:
    """The options that end a turn where the form does, besides those of ``config``."""
    options: dict[str, Any] = {}
    if form.stop_strings:
        options["stop_strings"] = [*(config.stop_strings or ()), *form.stop_strings]
    if config.eos_token_id is None and set(form.end_ids) - set(engine.eos_token_ids):
        options["eos_token_id"] = list(dict.fromkeys((*engine.eos_token_ids, *form.end_ids)))
    return options


class PlainForm:
    """``System:``, ``User:`` and ``Assistant:`` at the beginning of lines.

    SentencePiece models make spaces of line breaks, so a mark counts after any white space.
    """

    stop_strings = tuple(f"{space}{role}:" for role in _ROLES for space in _SPACES)
    end_ids: tuple[int, ...] = ()

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Encode with ``tokenizer``."""
        self._tokenizer = tokenizer

    def encode(self, system: str | None, turns: Sequence[Turn], user: str) -> list[int]:
        """See `Form.encode`."""
        lines = [] if not system else [f"System: {system}"]
        for turn in turns:
            lines += [f"User: {turn.user}", f"Assistant: {turn.assistant}"]
        text = "\n".join([*lines, f"User: {user}", "Assistant:"])
        return [*self._tokenizer.encode(""), *self._tokenizer.encode(text, parse_special=False)]

    def close(self) -> None:
        """Nothing to free."""


class TemplateForm:
    """A model's own template.

    What people say goes through it, and into the tokenizer, as it is; but a control token that they spell out is
    replaced by a private character meanwhile, so that it stays text.
    """

    stop_strings: tuple[str, ...] = ()

    def __init__(self, engine: Engine, source: str) -> None:
        """Try out what the template makes of system prompts, and which token ends a turn."""
        self._tokenizer = engine.tokenizer
        specials = {"bos_token": engine.bos_token_id, "eos_token": next(iter(engine.eos_token_ids), None)}
        names = {kind: "" if i is None else self._tokenizer.name(i) for kind, i in specials.items()}
        self._template = ChatTemplate(source, names)
        self._system_apart = True
        self.end_ids: tuple[int, ...] = ()
        with undone_on_error(self._template.close):
            self._try_out()

    def encode(self, system: str | None, turns: Sequence[Turn], user: str) -> list[int]:
        """See `Form.encode`."""
        hidden: list[str] = []
        messages = [
            {"role": message["role"], "content": self._hide_control(message["content"], hidden)}
            for message in self._messages(system, turns, user)
        ]
        return self._encode(self._template.render(messages), hidden)

    def close(self) -> None:
        """End the template's process."""
        self._template.close()

    def _try_out(self) -> None:
        self._system_apart = self._knows_system_prompts()
        if _FIRST not in self._template.render(self._messages("You are kind.", [], _FIRST)):
            raise BundleError("The model's chat template leaves out what the user says.")
        self.end_ids = self._find_end()

    def _messages(self, system: str | None, turns: Sequence[Turn], user: str) -> list[Message]:
        return _messages(system, turns, user, apart=self._system_apart)

    def _hide_control(self, text: str, hidden: list[str]) -> str:
        """Put a private character for every control token in a text, and for those there were; add it to ``hidden``."""
        spans = [(token.start, token.end) for token in self._tokenizer.find_control(text)]
        spans += [match.span() for match in _HIDDEN.finditer(text)]
        parts, done = [], 0
        for start, end in sorted(spans):
            parts += [text[done:start], chr(ord(_FIRST) + len(hidden))]
            hidden.append(text[start:end])
            done = end
        if len(hidden) > _MOST_HIDDEN:
            raise ConfigError(f"The conversation spells out more than {_MOST_HIDDEN} control tokens.")
        return "".join([*parts, text[done:]])

    def _encode(self, rendered: str, hidden: Sequence[str]) -> list[int]:
        said, *rest = _HIDDEN.split(rendered)
        ids = self._tokenizer.encode(said, add_special=False)
        for place, said in zip(rest[::2], rest[1::2], strict=True):
            ids += self._tokenizer.encode(hidden[ord(place) - ord(_FIRST)], parse_special=False)
            ids += self._tokenizer.encode(said, add_special=False)
        return ids

    def _knows_system_prompts(self) -> bool:
        try:
            return _FIRST in self._template.render(_messages(_FIRST, [], "Hello", apart=True))
        except BundleError:  # such as Gemma's, which refuses them
            return False

    def _find_end(self) -> tuple[int, ...]:
        """The control token right after what an assistant has said, if there is one."""
        messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _FIRST}]
        try:
            after = self._template.render(messages, add_generation_prompt=False).partition(_FIRST)[2]
        except BundleError:
            return ()
        return tuple(token.id for token in self._tokenizer.find_control(after)[:1] if token.start == 0)


def _messages(system: str | None, turns: Sequence[Turn], user: str, *, apart: bool) -> list[Message]:
    """What everybody said, in order; not ``apart`` the system prompt stands before the first user's text."""
    said = [("user", turn.user, "assistant", turn.assistant) for turn in turns]
    flat = [*(pair for turn in said for pair in (turn[:2], turn[2:])), ("user", user)]
    if system and apart:
        flat.insert(0, ("system", system))
    elif system:
        flat[0] = ("user", f"{system}\n\n{flat[0][1]}")
    return [{"role": role, "content": content} for role, content in flat]
