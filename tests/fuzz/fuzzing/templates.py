"""Texts of chat templates, compiled and rendered by what their own process runs."""

import json
import signal
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from fuzzing.changes import ODD_TEXTS, changed_value
from fuzzing.targets import DifferenceError
from llmbuilder.chat import sandbox
from llmbuilder.errors import BundleError

_SECONDS = 3.0
_TEMPLATES = (
    """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m['content'] | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}""",
    """{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{% set s = messages[0].content %}{% endif %}
{% for m in messages[1:] if m.role != 'x' %}{{ loop.index0 % 2 }}{{ m | tojson(indent=2) }}{% endfor %}""",
    """{% macro f(x, y=1) %}{{ x.split('a')[-1] }}{{ raise_exception('no') if y > 2 }}{% endmacro %}
{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ f(m.content, ns.n) }}{% endfor %}""",
    "{% generation %}{{ strftime_now('%Y') | length }}{% endgeneration %}{% break %}{{ range(10) | list }}",
)
_PARTS = (
    "{{", "}}", "{%", "%}", "{#", "#}", "{% for x in range(99999) %}", "{% endfor %}", "|", "tojson", ".__class__",
    "['__init__']", "* 10 ** 8", "'%999999999d' % 1", "range(10 ** 9)", "{% raw %}", "[", "]", "(" * 80, "not " * 200,
    "self", "messages", "{% include 'x' %}", "{% import 'os' as o %}", "strftime_now('\0')", "'a' * 9999999", "~",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "| indent(10 ** 8)", "| center(10 ** 9)", "lipsum(99999)",
    "cycler", "joiner", "dict", "-1", "1 / 0", "{{ '\\ud800' }}", "| format(1)", "| batch(0) | list",
    "| slice(0) | list",
)  # fmt: skip
_VARIABLES: dict[str, Any] = {
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a naïve 🙂"}],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
}


class _LateError(BaseException):
    pass


class Templates:
    """Changed templates with changed messages. What takes too long is refused: its process would be ended.

    What an alarm cannot interrupt ends this process, too.
    """

    def __init__(self, folder: Path) -> None:
        """Limit memory as there, and set what an alarm does."""
        sandbox._limit_memory()

        def late(*_: object) -> NoReturn:
            raise _LateError

        signal.signal(signal.SIGALRM, late)

    def make(self, random: Random) -> str:
        """Two lines of JSON as the process reads them."""
        source = random.choice(_TEMPLATES)
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            at = random.randrange(len(source) + 1)
            end = at + random.choice((0, 0, 1, 5, 20))
            part = random.choice((random.choice(_PARTS), random.choice(_PARTS), random.choice(ODD_TEXTS)))
            source = source[:at] + part + source[end:]
        changed = (
            changed_value(_VARIABLES["messages"], random) if random.random() < 0.3 else _VARIABLES["messages"]
        )
        try:
            variables = json.dumps(_VARIABLES | {"messages": changed})
        except ValueError:
            variables = json.dumps(_VARIABLES)
        return json.dumps({"template": source}) + "\n" + variables

    def run(self, made: str) -> None:
        """Ask for both answers; each is a text, or says what is wrong."""
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        try:
            answers = list(sandbox._answers(iter(made.splitlines())))
        except (_LateError, RecursionError, MemoryError) as error:
            raise BundleError("late, or too much") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for answer in answers:
            if answer.keys() - {"text", "error"} or not all(
                isinstance(value, str) for value in answer.values()
            ):
                raise DifferenceError(f"the answer {answer}")
            json.dumps(answer).encode()
        if any("error" in answer for answer in answers):
            raise BundleError(answers[-1].get("error", ""))
