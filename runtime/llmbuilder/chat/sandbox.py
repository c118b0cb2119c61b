"""Renders one chat template, in a process of its own that can be killed: ``python -m llmbuilder.chat.sandbox``.

A template comes with a model and is not to be trusted. jinja2's immutable sandbox keeps it from everything but its
arguments; what no sandbox limits, time and memory, is limited from outside (see `llmbuilder.chat.template`).

Standard output begins with a line that says that the process is ready. Standard input has a JSON object on each line:
first ``{"template": ...}``, then the variables of each rendering. Every line is answered by ``{"text": ...}`` or
``{"error": ...}``. What templates may use is what ``transformers`` 5
offers them: loop controls, ``raise_exception``, ``strftime_now``, ``tojson`` and the ``generation`` tag.
"""

import datetime as dt
import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LARGEST_TEXT = 4 << 20
"""Most characters of a rendered text."""
LONGEST_REASON = 500
"""Most characters of what is told of an error, which templates can make."""
_MEMORY = 1 << 30


class _Generation(Extension):
    """``{% generation %}`` marks what a model is trained on; here only its content matters."""

    tags = {"generation"}  # noqa: RUF012 (as jinja2 has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Take the content up to ``endgeneration``."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(source: str) -> Template:
    """Make a template of untrusted source.

    Raises:
        TemplateError: it is not jinja.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment.from_string(source)


def render(template: Template, variables: dict[str, Any]) -> str:
    """Render, up to `LARGEST_TEXT` characters.

    Raises:
        TemplateError: the template refuses its variables, or writes too much.
        UnicodeEncodeError: it writes half a character.
    """
    parts = []
    room = LARGEST_TEXT
    for part in template.generate(**variables):
        parts.append(part)
        room -= len(part)
        if room < 0:
            raise TemplateError(f"it writes more than {LARGEST_TEXT} characters")
    text = "".join(parts)
    text.encode()
    return text


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


def _to_json(value: object, indent: int | None = None, *, ensure_ascii: bool = False, **options: Any) -> str:
    """JSON as it is; jinja2's own filter is made for HTML."""
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, **options)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _answers(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    yield {"text": "ready"}
    template: Template | None = None
    for line in lines:
        request = json.loads(line)
        try:
            if template is None:
                template = compile_template(request["template"])
                yield {"text": ""}
            else:
                yield {"text": render(template, request)}
        except Exception as error:  # noqa: BLE001 (a template can raise anything)
            yield {"error": _reason(error)}


def _reason(error: Exception) -> str:
    """What went wrong, in one line of printable characters."""
    text = f"{type(error).__name__}: {error}"[: 2 * LONGEST_REASON]
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)[:LONGEST_REASON]


def main() -> None:
    """Answer line by line."""
    _limit_memory()
    for answer in _answers(sys.stdin):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
