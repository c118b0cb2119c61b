"""How a model wants a conversation: as its own template says, or as plain lines for models without one."""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any, Protocol

from llmbuilder.chat.hiding import FIRST, Hidden, with_texts
from llmbuilder.chat.template import ChatTemplate, Message, RefusalError, Tool
from llmbuilder.cleanup import undone_on_error
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import BundleError, ConfigError
from llmbuilder.generator import Engine
from llmbuilder.sessions.conversation import Turn
from llmbuilder.tokenizer import ControlToken, Tokenizer

_ROLES = ("System", "User", "Assistant")
_SPACES = " \n\t\r\v\f\N{NO-BREAK SPACE}\N{LINE SEPARATOR}\N{IDEOGRAPHIC SPACE}"
_KNOWN_TEXTS = 4096
_HARMFUL = re.compile(r"[^\w\s/.,!?:'\"-]")
"""Characters of the names of control tokens, without which a text has words but makes none of them."""


class Words(Protocol):
    """What a template needs of a model."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the texts."""
        ...

    @property
    def bos_token_id(self) -> int | None:
        """The token that the template knows as ``bos_token``."""
        ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a text, the first of which the template knows as ``eos_token``."""
        ...


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
    replaced by a private character meanwhile, so that it stays text. Those that the template makes of what is left, by
    taking characters out for example, show when the same messages are rendered without the characters that names of
    control tokens have. In replies, what the model may write itself, such as thinking marks, stays what it is:
    templates look for it.
    """

    stop_strings: tuple[str, ...] = ()

    def __init__(self, engine: Words, source: str) -> None:
        """Try out what the template makes of system prompts, and which token ends a turn."""
        self._tokenizer = engine.tokenizer
        specials = {"bos_token": engine.bos_token_id, "eos_token": next(iter(engine.eos_token_ids), None)}
        names = {kind: "" if i is None else self._tokenizer.name(i) for kind, i in specials.items()}
        self.template = ChatTemplate(source, names)
        self.system_apart = True
        """Whether the template takes a system message of its own."""
        self._structure: frozenset[int] = frozenset()
        self.end_ids: tuple[int, ...] = ()
        self._find_control = functools.lru_cache(_KNOWN_TEXTS)(self._tokenizer.find_control)
        with undone_on_error(self.template.close):
            self._try_out()

    def encode(self, system: str | None, turns: Sequence[Turn], user: str) -> list[int]:
        """See `Form.encode`.

        Raises:
            ConfigError: the template would make a control token of something that is said.
        """
        return self.encode_messages(_messages(system, turns, user))

    def encode_messages(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Token ids up to where the assistant answers, which may call ``tools``. Messages are as JSON has them.

        Raises:
            ConfigError: as `encode`.
        """
        said: Any = [[*(messages if self.system_apart else _joined(messages))], [*tools]]
        parts = self._render_hiding(*said)
        harmless = with_texts(said, lambda text: _HARMFUL.sub("x", text))
        if harmless != said and self._special(parts) != self._special(self._render_hiding(*harmless)):
            raise ConfigError(
                "The model's chat template makes a control token of something in this conversation. "
                "Take out what resembles one."
            )
        encode = self._tokenizer.encode
        return [
            i
            for part, is_hidden in parts
            for i in encode(part, parse_special=not is_hidden, add_special=False)
        ]

    def check_order(self, roles: Sequence[str]) -> None:
        """Refuse messages of these roles, in this order, where the template does, or leaves one of them out.

        Raises:
            BundleError: it does; the message says which.
        """
        words = [f"{FIRST} {number}." for number in range(len(roles))]
        messages = [{"role": role, "content": word} for role, word in zip(roles, words, strict=True)]
        said = self.template.render(messages if self.system_apart else _joined(messages))
        places = [said.find(word) for word in words]
        lost = next((n for n, (a, b) in enumerate(itertools.pairwise([0, *places])) if b < a), None)
        if lost is not None:
            raise BundleError(
                f"The model's chat template leaves out, or moves, message {lost} of {len(roles)}, of the role "
                f"{roles[lost]}. Join messages of one role that follow each other, with the system's first."
            )

    def close(self) -> None:
        """End the template's process."""
        self.template.close()

    def _try_out(self) -> None:
        self.system_apart = self._knows_system_prompts()
        messages = _messages("You are kind.", [], FIRST)
        asked = self.template.render(messages if self.system_apart else _joined(messages))
        if FIRST not in asked:
            raise BundleError(
                "The model's chat template leaves out what the user says. "
                "Correct the template, then export the model again."
            )
        find = self._tokenizer.find_control
        after = find(self._render("Hello", FIRST).partition(FIRST)[2])
        self._structure = frozenset(token.id for token in (*find(self._render("Hello")), *after))
        self.end_ids = tuple(token.id for token in after[:1] if token.start == 0)
        self.encode("You are kind.", [], "Hello")

    def _hide_control(self, message: Message, hidden: Hidden) -> Message:
        """A message without the control tokens that it spells out."""
        role, text = message["role"], message["content"]
        rest = {name: value for name, value in message.items() if name not in ("role", "content")}
        rest = with_texts(rest, functools.partial(self._hide, hidden))
        return {"role": role, "content": self._hide(hidden, text, reserved=role == "assistant"), **rest}

    def _hide(self, hidden: Hidden, text: str, *, reserved: bool = False) -> str:
        """A text without the control tokens that it spells out, or without those that are ``reserved``."""
        tokens = self._find_control(text)
        return hidden.hide(text, [(t.start, t.end) for t in tokens if not reserved or self._is_reserved(t)])

    def _is_reserved(self, token: ControlToken) -> bool:
        """Whether only the template may write it."""
        return token.special or token.id in self._structure

    def _render_hiding(self, messages: Sequence[Message], tools: list[Tool]) -> list[tuple[str, bool]]:
        """The parts of a prompt, each with whether it is a control token that somebody spells out."""
        hidden = Hidden()
        known = with_texts(tools, functools.partial(self._hide, hidden)) or None
        said = [self._hide_control(message, hidden) for message in messages]
        return list(hidden.split(self.template.render(said, tools=known)))

    def _special(self, parts: Sequence[tuple[str, bool]]) -> list[int]:
        """The ids of the special tokens that a prompt has."""
        find = self._tokenizer.find_control
        return [
            token.id for part, is_hidden in parts if not is_hidden for token in find(part) if token.special
        ]

    def _knows_system_prompts(self) -> bool:
        try:
            return FIRST in self.template.render(_messages(FIRST, [], "Hello"))
        except RefusalError:  # such as Gemma's, which refuses them
            return False

    def _render(self, *said: str) -> str:
        """What user and assistant say in turns, with no answer begun; nothing if the template refuses it."""
        roles = itertools.cycle(("user", "assistant"))
        messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
        try:
            return self.template.render(messages, add_generation_prompt=False)
        except RefusalError:
            return ""


def _messages(system: str | None, turns: Sequence[Turn], user: str) -> list[Message]:
    """What everybody said, in order."""
    exchanges = [("user", turn.user, "assistant", turn.assistant) for turn in turns]
    flat = [*(pair for turn in exchanges for pair in (turn[:2], turn[2:])), ("user", user)]
    if system:
        flat.insert(0, ("system", system))
    return [{"role": role, "content": content} for role, content in flat]


def _joined(messages: Sequence[Message]) -> list[Message]:
    """Messages with what the system says before the first user's text."""
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return list(messages)
    (system, first), rest = messages[:2], messages[2:]
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
