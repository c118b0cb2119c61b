"""What a model is given to write from: openings for base models, a system prompt and a request for chat models."""

import contextlib

from llmbuilder.errors import BundleError
from llmbuilder.generator import TextGenerator
from llmbuilder.groups import PromptLike
from llmbuilder.writing.styles import Style

_SYSTEM, _USER = "\ue000", "\ue001"
"""Stand for the texts while the template is rendered."""


class Asker:
    """Puts a task to one model in the form that suits it."""

    def __init__(self, generator: TextGenerator, style: Style) -> None:
        """Ask in ``style``.

        Raises:
            BundleError: the bundle's chat template cannot be rendered.
        """
        self._tokenizer = generator.tokenizer
        self._voice = style.voice
        bundle = generator.engine.bundle
        template = None if bundle is None else bundle.chat_template
        self._form = None if template is None else _render(template)

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self._form is not None

    def ask(self, opening: str, request: str, begun: str) -> PromptLike:
        """A prompt that the model answers by continuing ``begun``.

        Args:
            opening: what comes before it for a base model.
            request: what a chat model is asked.
            begun: the text that has been written, in a chat the beginning of the model's answer; may be empty.
        """
        if self._form is None:
            return opening + begun
        before, after, end = self._form
        added = self._tokenizer.encode("")  # such as BOS, which belongs at the beginning only
        ids = list(added)
        for control, text in ((before, self._voice), (after, request), (end, begun)):
            ids += self._tokenizer.encode(control)[len(added) :]
            ids += self._tokenizer.encode(text, parse_special=False)  # no text becomes a control token
        return ids


def _render(template: str) -> tuple[str, str, str]:
    """A template's text before the system prompt, up to the request, and up to the answer."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    with_system = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    without = [
        {"role": "user", "content": f"{_SYSTEM}\n\n{_USER}"}
    ]  # for templates that know no system prompt
    text = ""
    for messages in (with_system, without):
        with contextlib.suppress(TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
            text = environment.from_string(template).render(messages=messages, add_generation_prompt=True)
        if _SYSTEM in text and _USER in text:
            break
    before, found, rest = text.partition(_SYSTEM)
    after, asked, end = rest.partition(_USER)
    if not (found and asked):
        raise BundleError("The model's chat template cannot be rendered, or leaves the user's message out.")
    return before, after, end
