"""Chat templates are rendered as transformers does, and cannot do harm."""

import datetime as dt
import gc
import threading

import pytest

from llmbuilder.chat.template import ChatTemplate, RefusalError
from llmbuilder.errors import BundleError, ConfigError

HELLO = [{"role": "user", "content": "Hello 🦊"}]


def render(source, messages=HELLO, *, seconds=20.0, **variables):
    with ChatTemplate(source, variables, seconds=seconds) as template:
        return template.render(messages)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0].content }}", "Hello 🦊"),
        ("{{ bos_token }}{% if add_generation_prompt %}go{% endif %}", "<s>go"),
        ("{% if tools is none and not documents %}no tools{% endif %}", "no tools"),
        ("  {% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),  # blocks take their lines with them
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% generation %}{{ messages[0].role }}{% endgeneration %}", "user"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ strftime_now('%Y') }}", str(dt.datetime.now().astimezone().year)),
        ("{% set ns = namespace(n=0) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
    ],
)
def test_templates_have_what_transformers_offers(source, text):
    assert render(source, bos_token="<s>") == text  # noqa: S106 (a token of text)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('Roles must alternate.') }}", r"TemplateError: Roles must alternate\.$"),
        ("{% nonsense", "TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[9].content }}", "UndefinedError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError|UndefinedError"),
        ("{% include '/etc/passwd' %}", "TypeError|TemplateNotFound"),
        ("{% for n in range(99999) %}{{ 'x' * 99 }}{% endfor %}", "writes more than 4194304 characters"),
        ("{{ 'x' * 10 ** 10 }}", "MemoryError|too much memory"),
        (r"{{ '\ud800' }}", "UnicodeEncodeError"),
    ],
)
def test_what_a_template_must_not_or_cannot_do_is_an_error_that_says_why(source, reason):
    with pytest.raises(BundleError, match=f"chat template cannot be rendered: .*({reason})"):
        render(source)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_a_template_that_never_ends_is_stopped():
    with pytest.raises(BundleError, match=r"more than 0\.5 s"):
        render(ENDLESS, seconds=0.5)


def test_compiling_has_the_same_limit():
    with pytest.raises(BundleError, match=r"more than 0\.5 s"):
        render("{{ 10 ** (10 ** 8) }}", seconds=0.5)


def test_what_is_told_of_an_error_is_one_short_line_of_printable_characters():
    with pytest.raises(BundleError) as caught:
        render("{{ raise_exception('a\\x1b[2J\n\u202eb' ~ 'c' * 99999) }}")
    assert "TemplateError: a [2J bccc" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_after_an_error_the_template_goes_on():
    source = "{% if messages %}{{ raise_exception('no') }}{% endif %}ok"
    with ChatTemplate(source, {}) as template:
        with pytest.raises(BundleError):
            template.render(HELLO)
        assert template.render([]) == "ok"


def test_after_being_stopped_it_starts_again():
    with ChatTemplate("{% if messages %}" + ENDLESS + "{% endif %}ok", {}, seconds=2.0) as template:
        with pytest.raises(BundleError):
            template.render(HELLO)
        assert template.render([]) == "ok"


def test_after_an_interrupted_rendering_the_next_one_gets_its_own_answer(monkeypatch):
    def interrupted(process, line, seconds):
        process.stdin.write(line)
        process.stdin.flush()
        raise KeyboardInterrupt

    with ChatTemplate("{{ messages[0].content }}", {}) as template:
        assert template.render(HELLO) == "Hello 🦊"
        with monkeypatch.context() as patch:
            patch.setattr("llmbuilder.chat.template._exchange", interrupted)
            with pytest.raises(KeyboardInterrupt):
                template.render([{"role": "user", "content": "first"}])
        assert template.render(HELLO) == "Hello 🦊"


def test_a_template_that_refuses_keeps_its_process():
    with ChatTemplate("{{ raise_exception('no') if messages }}ok", {}) as template:
        template.render([])
        process = template._process
        with pytest.raises(RefusalError):
            template.render(HELLO)
        assert template._process is process


def test_a_closed_template_starts_nothing():
    template = ChatTemplate("x", {})
    template.render([])
    template.close()
    with pytest.raises(ConfigError, match="closed"):
        template.render([])
    assert template._process is None


def test_threads_may_share_a_template():
    found = []
    with ChatTemplate("{{ messages[0].content }}", {}) as template:

        def ask(n):
            found.append(template.render([{"role": "user", "content": str(n)}]) == str(n))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 20


def test_a_forgotten_template_ends_its_process():
    template = ChatTemplate("x", {})
    template.render([])
    process = template._process
    del template
    gc.collect()
    assert process.poll() is not None
