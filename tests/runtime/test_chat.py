"""`ChatInterface`: replies, what they compute, and what is left out when the window is full."""

import pytest
from chat_templates import TEMPLATE

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, ContextOverflowError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule, scripted

SEEDED = {"seed": 5, "max_new_tokens": 12, "temperature": 1.5}


def open_chat(rule, *, template=TEMPLATE, window=512, system_prompt=None, **options):
    engine = fake_engine(rule, context_length=window, chat_template=template)
    return ChatInterface(TextGenerator.from_engine(engine), system_prompt=system_prompt, **options)


def talk(chat, turns, **options):
    conversation = []
    for number in range(turns):
        user = f"What is {number}?"
        conversation.append({"user": user, "assistant": chat.respond(user, conversation, **options)})
    return conversation


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "plain"])
def test_a_reply_is_what_the_model_says_without_the_space_around_it(template):
    with open_chat(scripted("  I am a fox.\n "), template=template) as chat:
        assert chat.respond("Who?") == "I am a fox."
        assert "".join(chat.stream("Who?")) == "I am a fox."


def test_a_reply_streams():
    with open_chat(scripted(" ab  c ")) as chat:
        assert list(chat.stream("Who?")) == ["a", "b", "  c"]


@pytest.mark.parametrize("mark", ["\nUser:", " User:", "\tSystem:", "\n\nAssistant:"])
def test_in_plain_lines_a_reply_ends_where_the_model_speaks_for_others(mark):
    with open_chat(scripted(f" Yes.{mark} And you?"), template=None) as chat:
        assert chat.respond("Sure?") == "Yes."


def test_in_plain_lines_a_word_that_ends_like_a_mark_is_a_word():
    with open_chat(scripted(" SuperUser: root."), template=None) as chat:
        assert chat.respond("Who?") == "SuperUser: root."


def test_replies_are_those_of_computing_everything_afresh():
    with open_chat(random_rule()) as chat:
        conversation = talk(chat, 6, **SEEDED)
    for number, turn in enumerate(conversation):
        with open_chat(random_rule()) as fresh:
            assert fresh.respond(turn["user"], conversation[:number], **SEEDED) == turn["assistant"]


def test_a_turn_computes_only_itself_and_the_last_reply():
    with open_chat(scripted("I am a fox.")) as chat:
        conversation = talk(chat, 9)
        before = chat.prefilled_tokens
        chat.respond("And now?", conversation)
        new = "I am a fox.</s><user>And now?</s><assistant>"
        assert chat.prefilled_tokens - before == len(new) - 2 * len("</s>") + 2


def test_an_edited_conversation_is_computed_from_the_first_difference():
    with open_chat(scripted("Yes.")) as chat:
        conversation = talk(chat, 3)
        chat.respond("More?", conversation)
        before = chat.prefilled_tokens
        conversation[2] = {"user": conversation[2]["user"], "assistant": "No."}
        chat.respond("More?", conversation)
        assert chat.prefilled_tokens - before == len("No.") + 1 + len("<user>More?") + 1 + len("<assistant>")


def test_the_conversation_given_is_not_changed():
    conversation = [{"user": "a", "assistant": "b"}]
    with open_chat(scripted("c")) as chat:
        chat.respond("d", conversation)
    assert conversation == [{"user": "a", "assistant": "b"}]


def test_a_full_window_drops_the_oldest_turns_and_keeps_the_system_prompt():
    seen = []
    say = scripted("A fox.")

    def rule(ids):
        seen.append(bytes(i for i in ids if i < 256).decode())
        return say(ids)

    with open_chat(rule, window=200, system_prompt="Be kind.", max_new_tokens=20) as chat:
        conversation = talk(chat, 12)
        assert chat.dropped_turns > 0
    assert [turn["assistant"] for turn in conversation] == ["A fox."] * 12
    last = seen[-1]
    assert last.startswith("<system>Be kind.<user>")
    assert "What is 0?" not in last
    assert "What is 10?<assistant>A fox.<user>What is 11?<assistant>" in last


def test_turns_are_dropped_several_at_a_time_so_that_prompts_can_grow_again():
    dropped = []
    with open_chat(scripted("A fox."), window=240, max_new_tokens=20) as chat:
        conversation = []
        for number in range(30):
            user = f"What is {number}?"
            conversation.append({"user": user, "assistant": chat.respond(user, conversation)})
            dropped.append(chat.dropped_turns)
    assert dropped == sorted(dropped)
    changes = len(set(dropped)) - 1
    assert 0 < changes < (max(dropped) or 1)


def test_there_is_room_for_a_reply():
    with open_chat(scripted("x", end=False), window=128, max_new_tokens=50) as chat:
        conversation = [{"user": "u" * 10, "assistant": "a" * 10} for _ in range(20)]
        assert len(chat.respond("n", conversation, context_overflow="error")) == 50


def test_max_length_bounds_conversation_and_reply():
    with open_chat(scripted("x", end=False), window=512, max_length=100, max_new_tokens=30) as chat:
        conversation = [{"user": "u" * 10, "assistant": "a" * 10} for _ in range(20)]
        assert len(chat.respond("n", conversation)) == 30
        assert chat.dropped_turns > 15


def test_a_message_longer_than_the_window_is_refused_with_both_counts():
    with (
        open_chat(scripted("x"), window=64) as chat,
        pytest.raises(ContextOverflowError, match=r"1\d\d tokens.*64"),
    ):
        chat.respond("n" * 100)


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "plain"])
def test_a_longer_message_may_be_cut_at_its_beginning_but_keeps_the_system_prompt(template):
    seen = []
    say = scripted("x")

    def rule(ids):
        seen.append(bytes(i for i in ids if i < 256).decode())
        return say(ids)

    with open_chat(rule, template=template, window=90, system_prompt="Be kind.", max_new_tokens=4) as chat:
        assert chat.respond("long" * 100 + " end", truncate_prompt=True) == "x"
    assert "Be kind." in seen[0]
    assert "longlong end" in seen[0]


def test_a_message_that_fits_is_not_cut():
    with open_chat(scripted("x"), window=90, max_new_tokens=4) as chat:
        before = chat.prefilled_tokens
        chat.respond("n" * 20, truncate_prompt=True)
        assert chat.prefilled_tokens - before == len("<user>" + "n" * 20 + "<assistant>") + 1


def test_a_system_prompt_without_room_for_a_message_is_refused():
    with (
        open_chat(scripted("x"), window=90, system_prompt="s" * 100) as chat,
        pytest.raises(ContextOverflowError, match="system prompt leaves no room"),
    ):
        chat.respond("n", truncate_prompt=True)


def test_the_tokens_that_end_a_turn_end_a_reply():
    import dataclasses

    engine = dataclasses.replace(
        fake_engine(scripted("Yes."), context_length=512, chat_template=TEMPLATE), eos_token_ids=()
    )
    with ChatInterface(TextGenerator.from_engine(engine)) as chat:
        assert chat.respond("Sure?") == "Yes."


def test_beams_reply_too():
    with open_chat(random_rule(), num_beams=3, do_sample=False, max_new_tokens=6) as chat:
        assert chat.respond("a") == "".join(chat.stream("a"))


@pytest.mark.parametrize(
    ("conversation", "message"),
    [
        ("hello", "list of turns, .*got 'hello'"),
        (None, "list of turns, .*got None"),
        ([("a", "b")], r"Turn 1 .*must be"),
        ([{"user": "a", "assistant": "b"}, {"user": "a"}], r"Turn 2 .*must be"),
        ([{"user": "a", "assistant": "b", "system": "c"}], r"Turn 1 .*must be"),
        ([{"user": "a", "assistant": None}], "assistant must be a text"),
        ([{"user": "\ud800", "assistant": ""}], "half a character.*at position 0"),
    ],
)
def test_a_malformed_conversation_is_refused(conversation, message):
    with open_chat(scripted("x")) as chat, pytest.raises(ConfigError, match=message):
        chat.respond("n", conversation)


def test_mistakes_in_a_stream_raise_at_the_call():
    with open_chat(scripted("x")) as chat:
        with pytest.raises(ConfigError, match="user_input must be a text"):
            chat.stream(7)
        with pytest.raises(ConfigError, match="num_return_sequences"):
            chat.stream("n", num_return_sequences=2)
        with pytest.raises(ConfigError, match="temprature"):
            chat.stream("n", temprature=2)


def test_config_and_overrides_are_options_of_all_replies():
    config = GenerationConfig(max_new_tokens=3)
    with open_chat(scripted("abcdef"), config=config) as chat:
        assert chat.respond("n") == "abc"
        assert chat.respond("n", max_new_tokens=2) == "ab"
    with open_chat(scripted("abcdef"), config=config, max_new_tokens=1) as chat:
        assert chat.respond("n") == "a"


def test_several_replies_to_one_message_are_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"num_return_sequences=3.*here there is one"):
        open_chat(scripted("x"), num_return_sequences=3)


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "plain"])
def test_a_closed_chat_says_so(template):
    chat = open_chat(scripted("x"), template=template)
    chat.close()
    with pytest.raises(ConfigError, match="closed"):
        chat.respond("n")
