"""What a chat template does, tried out by the runtime's own code, so that nobody need try it again."""

from collections.abc import Callable
from dataclasses import dataclass

from llmbuilder.bundle.manifest import ChatFacts
from llmbuilder.chat.forms import TemplateForm
from llmbuilder.errors import BundleError, ConfigError
from llmbuilder.tokenizer import Tokenizer, load_tokenizer
from llmbuilder_export.sources.tokenizer import TokenizerSource


@dataclass(frozen=True)
class _Words:
    """What a template is tried out with."""

    tokenizer: Tokenizer
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]


def chat_facts(
    template: str | None, words: TokenizerSource, progress: Callable[[str], None]
) -> ChatFacts | None:
    """Render a few messages with ``template`` and see what comes of them.

    Returns:
        None without a template, or if it cannot be rendered: ``progress`` is told, since chats will fail.
    """
    if template is None:
        return None
    tokenizer, facts = load_tokenizer(words.path), words.facts
    try:
        form = TemplateForm(_Words(tokenizer, facts.bos_token_id, facts.eos_token_ids), template)
    except (BundleError, ConfigError) as error:
        progress(f"chats with this model will fail: {error}")
        return None
    form.close()
    return ChatFacts(
        system_role=form.system_apart, end_token_ids=form.end_ids, tool_calls=tool_calls(template)
    )


def tool_calls(template: str) -> str | None:
    """The form in which a model calls tools, by the words that its template has for them.

    ``hermes`` is an object between ``<tool_call>`` and ``</tool_call>`` (Nous Hermes, Qwen); ``llama3`` an object alone
    with ``name`` and ``parameters`` (Llama 3.1 and later).
    """
    if "tools" not in template:
        return None
    if "<tool_call>" in template:
        return "hermes"
    return "llama3" if '{"name": ' in template and '"parameters": ' in template else None
