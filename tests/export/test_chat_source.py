"""What is noted of a chat template, so that nobody need try it out again."""

import pytest

from llmbuilder.bundle.manifest import ChatFacts
from llmbuilder_export.sources.chat import chat_facts, tool_calls
from llmbuilder_export.sources.tokenizer import load_tokenizer_source

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML


@pytest.fixture
def words(tmp_path, byte_bpe_file):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(byte_bpe_file))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return load_tokenizer_source(tmp_path, tmp_path, 1000), tokenizer.token_to_id("<|im_end|>")


@pytest.mark.parametrize(("template", "system_role"), [(CHATML, True), (REFUSING, False)])
def test_system_messages_and_the_end_of_a_turn_are_noted(words, template, system_role):
    source, end = words
    assert chat_facts(template, source, print) == ChatFacts(system_role=system_role, end_token_ids=(end,))


def test_without_a_template_there_is_nothing_to_note(words):
    assert chat_facts(None, words[0], print) is None


@pytest.mark.parametrize("template", ["{% if %}", "{{ bos_token }}"])
def test_a_template_that_cannot_serve_is_told_of(words, template):
    told = []
    assert chat_facts(template, words[0], told.append) is None
    assert len(told) == 1
    assert "chats with this model will fail" in told[0]


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (CHATML, None),
        ("{% if tools %}<tool_call>{{ tools }}</tool_call>{% endif %}", "hermes"),
        ('{% if tools %}{"name": "{{ n }}", "parameters": {{ p }}}{% endif %}', "llama3"),
        ("{% if tools %}{{ tools }}{% endif %}", None),
    ],
)
def test_the_form_of_tool_calls_is_known_by_its_words(template, form):
    assert tool_calls(template) == form
