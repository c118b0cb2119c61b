"""Sessions: what is typed, what is answered, and the commands."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from chat_templates import TEMPLATE

import llmbuilder
from llmbuilder.chat.interface import ChatInterface
from llmbuilder.engine.loading import Lease
from llmbuilder.errors import ConfigError
from llmbuilder.filtering import OutputGate
from llmbuilder.generator import TextGenerator
from llmbuilder.interactive.interface import InteractiveGenerator, interactive_cli
from llmbuilder.sessions.commands import COMMANDS, completions
from llmbuilder.sessions.dialog import run_session
from llmbuilder.testing import fake_engine, scripted

ANSWER = "A fox 🦊."


class Typist:
    """A terminal at which lines are typed; one that is an exception is raised."""

    is_interactive = True
    stops = "Ctrl-C"
    leaves = "/quit or Ctrl-D"

    def __init__(self, *lines):
        self._lines = iter(lines)
        self.shown = ""
        self.notes = []

    def read(self, question, default=""):
        line = next(self._lines, None)
        if isinstance(line, BaseException):
            raise line
        return line

    @contextlib.contextmanager
    def answering(self, name):
        self._write(name)
        try:
            yield self._write
        finally:
            self._write("\n")

    def _write(self, text):
        self.shown += text

    def note(self, text):
        self.notes.append(text)


def generator(text=ANSWER, *, template=TEMPLATE, window=512):
    return TextGenerator.from_engine(
        fake_engine(scripted(text), context_length=window, chat_template=template)
    )


@pytest.fixture
def chat():
    with ChatInterface(generator(), system_prompt="Be kind.") as chat:
        yield chat


def session(partner, *lines, gate=None):
    typist = Typist(*lines)
    return run_session(partner, name="AI: ", terminal=typist, gate=gate), typist


def test_lines_are_answered_and_remembered(chat):
    state, typist = session(chat, "Who?", "  And now? ", "quit")
    assert typist.shown == f"AI: {ANSWER}\nAI: {ANSWER}\n"
    assert state.conversation == [
        {"user": "Who?", "assistant": ANSWER},
        {"user": "And now?", "assistant": ANSWER},
    ]


@pytest.mark.parametrize("word", ["quit", "EXIT", "/quit", "/exit", None])
def test_a_session_ends_at_a_word_or_at_the_end_of_input(chat, word):
    state, _ = session(chat, "Who?", word, "never read")
    assert len(state.conversation) == 1


def test_empty_lines_are_not_answered(chat):
    assert session(chat, "", "   ")[0].conversation == []


def test_help_lists_every_command(chat):
    _, typist = session(chat, "/help")
    assert [line.split()[0] for line in typist.notes[1:]] == list(COMMANDS)


def test_completion_knows_every_command_and_option():
    assert set(completions()) == set(COMMANDS)
    assert {"temperature", "top_k", "seed"} <= set(completions()["/set"])
    assert "given" not in completions()["/set"]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/set temperature 0.5", "temperature", 0.5),
        ("/set top_k none", "top_k", None),
        ("/set top_p null", "top_p", None),
        ('/set stop_strings ["a", "b"]', "stop_strings", ("a", "b")),
        ("/set stop_strings The end.", "stop_strings", ("The end.",)),
        ("/set do_sample false", "do_sample", False),
        ("/set temperature 0", "do_sample", False),
    ],
)
def test_settings_are_changed_and_shown(chat, line, name, value):
    _, typist = session(chat, line, "/settings")
    assert getattr(chat.config, name) == value
    assert typist.notes.count(f"{name} = {value!r}") == 2


def test_a_temperature_after_temperature_0_samples_again(chat):
    state, _ = session(chat, "/set temperature 0", "/set temperature 0.6")
    assert (state.partner.config.do_sample, state.partner.config.temperature) == (True, 0.6)


def test_settings_act_on_the_next_answer(chat):
    state, _ = session(chat, "/set max_new_tokens 3", "Who?")
    assert state.conversation[0]["assistant"] == "A f"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/set temprature 1", "Did you mean 'temperature'"),
        ("/set temperature hot", "temperature must be a number"),
        ("/set temperature", "Say which setting"),
        ("/sett temperature 1", "Did you mean '/set'"),
        ("/load", "Say which file"),
        ("/load gone.json", "cannot be read"),
        ("/save /nowhere/c.json", "No such file"),
        ("/save .", "is there already"),
        ("/save /", "is there already"),
        ("/save ~nosuchuser/x", "nobody has that home directory"),
        ("/load ~nosuchuser/x", "nobody has that home directory"),
        ("/save a\0b", "cannot be written"),
        ("/load a\0b", "cannot be read"),
        ("/set seed " + "9" * 5000, "No option takes '999"),
        ("/set stop_strings " + "[" * 100_000, "No option takes '[[["),
        ("/set stop_strings " + "[" * 500 + "]" * 500, "No option takes '[[["),
        ('/set seed {"a": 1}', "No option takes"),
        ("/set num_return_sequences 3", "here there is one"),
    ],
)
def test_what_cannot_be_done_is_explained_and_the_session_goes_on(chat, line, message):
    state, typist = session(chat, line, "Who?")
    assert message in typist.notes[1]
    assert "\n" not in typist.notes[1]
    assert len(typist.notes[1]) < 500
    assert len(state.conversation) == 1


def test_clear_forgets_the_conversation_and_keeps_the_settings(chat):
    state, _ = session(chat, "/set seed 7", "Who?", "/clear")
    assert state.conversation == []
    assert chat.config.seed == 7


def test_reset_forgets_the_settings_too(chat):
    state, _ = session(chat, "/set seed 7", "/system Be brief.", "Who?", "/reset")
    assert state.conversation == []
    assert chat.config.seed is None
    assert chat.system_prompt == "Be kind."


def test_the_system_prompt_can_be_changed(chat):
    _, typist = session(chat, "/system Be brief.", "/settings", "/system")
    assert "system prompt: Be brief." in typist.notes
    assert chat.system_prompt is None


def test_a_conversation_is_saved_and_gone_on_with(chat, tmp_path):
    path = tmp_path / "my chat.json"
    session(chat, "Who?", f"/save {path}")
    assert json.loads(path.read_text())["system_prompt"] == "Be kind."
    state, typist = session(chat, "/system x", f"/load {path}", "And now?")
    assert [turn["user"] for turn in state.conversation] == ["Who?", "And now?"]
    assert chat.system_prompt == "Be kind."
    assert f"1 turn from {path}." in typist.notes


def test_what_a_session_began_with_is_what_a_reset_goes_back_to(chat, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"system_prompt": "Be wise.", "conversation": []}))
    run_session(chat, conversation=path, terminal=Typist("/system x", "/reset"))
    assert chat.system_prompt == "Be wise."
    session(chat, "/system Be kind.", "/reset", f"/load {path}", "/reset")
    assert chat.system_prompt == "Be wise."


def test_what_cannot_be_loaded_leaves_the_conversation(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"system_prompt": "Be wise.", "conversation": []}))
    with InteractiveGenerator(generator(template=None)) as interactive:
        state, typist = session(interactive._partner, "Once", f"/load {path}")
    assert "no chat template" in typist.notes[-1]
    assert len(state.conversation) == 1


def test_saved_without_a_name_it_goes_to_the_users_data_and_is_found_there(chat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    _, typist = session(chat, "Who?", "/save")
    (path,) = (tmp_path / "data" / "llmbuilder-runtime" / "conversations").iterdir()
    assert path.match("conversation-*.json")
    assert f"1 turn saved to {path}." in typist.notes
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    state, _ = session(chat, f"/load {path.name}")
    assert len(state.conversation) == 1


def test_a_data_directory_that_cannot_be_made_is_told_with_advice(chat, tmp_path, monkeypatch):
    (tmp_path / "data").write_text("a file")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    _, typist = session(chat, "Who?", "/save")
    assert "cannot be made" in typist.notes[-1]
    assert "/save FILE" in typist.notes[-1]


def test_the_last_message_is_answered_again(chat):
    state, typist = session(chat, "Who?", "And now?", "/retry")
    assert state.conversation == [
        {"user": "Who?", "assistant": ANSWER},
        {"user": "And now?", "assistant": ANSWER},
    ]
    assert typist.shown == f"AI: {ANSWER}\n" * 3


def test_with_a_seed_it_is_said_why_the_answer_is_the_same(chat):
    _, typist = session(chat, "/set seed 3", "Who?", "/retry")
    assert typist.notes[-1].startswith("The same, because the seed is.")


def test_an_answer_that_fails_again_leaves_the_one_there_was(chat):
    state, typist = session(chat, "Who?", "/set max_length 1", "/retry")
    assert state.conversation == [{"user": "Who?", "assistant": ANSWER}]
    assert typist.notes[-1].startswith("Error:")


def test_a_message_without_an_answer_is_what_is_answered_again(chat):
    state, _ = session(chat, "Who?", "/set max_length 1", "And now?", "/set max_length none", "/retry")
    assert [turn["user"] for turn in state.conversation] == ["Who?", "And now?"]


@pytest.mark.parametrize("forgotten", ["/clear", "/reset"])
def test_a_message_that_is_forgotten_is_not_answered_again(chat, forgotten):
    lines = ("/set max_length 1", "Who?", "/set max_length none", forgotten, "/retry")
    state, typist = session(chat, *lines)
    assert state.conversation == []
    assert typist.notes[-1].startswith("Error: There is no answer yet")


def test_a_filter_lets_whole_answers_through_as_they_may_be_shown():
    gate = OutputGate({"profanity_filter": True})
    with ChatInterface(generator("a shit fox")) as chat:
        state, typist = session(chat, "Who?", gate=gate)
    assert typist.shown == "AI: a **** fox\n"
    assert state.conversation == [{"user": "Who?", "assistant": "a **** fox"}]


def test_a_refused_answer_is_told_and_forgotten_and_may_be_asked_for_again(chat):
    gate = OutputGate({"max_length": 3})
    state, typist = session(chat, "Who?", "/settings", "/set max_new_tokens 2", "/retry", gate=gate)
    assert any(
        note.startswith("Error: The text was refused. max_length: 8 characters") for note in typist.notes
    )
    assert "filter: max_length = 3" in typist.notes
    assert typist.shown == "AI: \nAI: A\n"
    assert state.conversation == [{"user": "Who?", "assistant": "A"}]


@pytest.mark.parametrize("command", ["/retry", "/stats"])
def test_before_the_first_answer_there_is_nothing_to_repeat_or_to_measure(chat, command):
    _, typist = session(chat, command)
    assert typist.notes[-1].startswith("Error: There is no ")


def test_tokens_and_speed_are_told_on_request(chat):
    _, typist = session(chat, "Who?", "/stats")
    assert re.fullmatch(
        r"prompt: \d+ tokens, first .*; text: \d+ tokens, \d+\.\d/s; ended by: eos", typist.notes[-1]
    )


def test_a_session_that_continues_prompts_tells_them_too():
    with InteractiveGenerator(generator(template=None)) as interactive:
        _, typist = session(interactive._partner, "/stats", "Once", "/stats")
    assert typist.notes[-2].startswith("Error:")
    assert typist.notes[-1].startswith("prompt: ")


def interrupting(after):
    class Partner:
        config = system_prompt = None
        dropped_turns = 0

        def stream(self, user_input, conversation):
            yield from ["A ", "fox", " and"][:after]
            raise KeyboardInterrupt

    return Partner()


def test_an_answer_that_is_stopped_counts_as_far_as_it_came():
    state, typist = session(interrupting(2), "Who?", "And?")
    assert [turn["assistant"] for turn in state.conversation] == ["A fox", "A fox"]
    assert typist.notes[1:] == ["(stopped)", "(stopped)"]


def test_an_answer_stopped_before_it_begins_never_was():
    assert session(interrupting(0), "Who?")[0].conversation == []


def test_a_filtered_answer_that_is_stopped_was_not_shown_and_never_was():
    state, typist = session(interrupting(2), "Who?", gate=OutputGate({"max_length": 100}))
    assert (state.conversation, typist.shown) == ([], "AI: \n")
    assert typist.notes[-1] == "(stopped)"


def test_ctrl_c_at_the_prompt_forgets_the_line_only(chat):
    state, typist = session(chat, KeyboardInterrupt(), "Who?")
    assert len(state.conversation) == 1
    assert typist.notes[1] == "/quit or Ctrl-D leaves."


def test_an_error_is_shown_and_the_session_goes_on(chat):
    state, typist = session(chat, "x" * 600, "Who?")
    assert [turn["user"] for turn in state.conversation] == ["Who?"]
    assert typist.notes[1].startswith("Error: The prompt has")


def test_turns_that_are_left_out_are_mentioned():
    with ChatInterface(generator(window=160), max_new_tokens=20) as chat:
        _, typist = session(chat, *[f"What is {n}?" for n in range(8)])
    assert any("window is full" in note for note in typist.notes)


def test_from_a_pipe_answers_are_all_that_is_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n/settings\n\nAnd now?"))
    with ChatInterface(generator()) as chat:
        chat.start()
    captured = capsys.readouterr()
    assert captured.out == f"{ANSWER}\n{ANSWER}\n"
    assert "temperature = 0.8" in captured.err


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "plain"])
def test_a_line_from_a_pipe_that_is_no_utf_8_is_an_error_of_its_own(monkeypatch, capsys, template):
    lines = io.BytesIO(b"Who?\nCaf\xe9\nAnd now?\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(lines, encoding="utf-8"))
    with InteractiveGenerator(generator(template=template)) as interactive:
        interactive.start_session()
    captured = capsys.readouterr()
    assert captured.out == f"{ANSWER}\n\n{ANSWER}\n"
    assert "at position 3" in captured.err


def test_several_answers_to_one_prompt_are_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"num_return_sequences=3.*here there is one"):
        InteractiveGenerator(generator(template=None), num_return_sequences=3)


def test_a_model_without_template_continues_prompts(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Once\nquit\n"))
    with InteractiveGenerator(generator(" upon a time", template=None)) as interactive:
        assert interactive.generate("Once") == " upon a time"
        interactive.start_session()
    assert capsys.readouterr().out == " upon a time\n"


def test_a_model_with_template_is_asked_in_its_form():
    with InteractiveGenerator(generator(" Yes. ")) as interactive:
        assert interactive.generate("Sure?") == "Yes."


def test_a_system_prompt_is_refused_where_prompts_are_continued(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("/system Be kind.\n"))
    with InteractiveGenerator(generator(template=None)) as interactive:
        interactive.start_session()
    assert "no chat template" in capsys.readouterr().err


def test_interactive_cli_returns_when_the_input_ends(monkeypatch, capsys):
    lease = Lease(generator().engine, lambda _: None)
    monkeypatch.setattr("llmbuilder.generator.source.acquire", lambda *_, **__: lease)
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n"))
    assert interactive_cli("model", "tokenizer", temperature=0.5, max_new_tokens=5) is None
    assert capsys.readouterr().out == f"{ANSWER[:5]}\n"
    assert llmbuilder.interactive_cli is interactive_cli


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device is there on Linux only")
def test_a_full_disk_forgets_lines_and_ends_no_session(cache_home):
    from llmbuilder.sessions.terminal import _open_history

    folder = cache_home / "llmbuilder-runtime"
    folder.mkdir()
    (folder / "history").symlink_to("/dev/full")
    history = _open_history()
    history.append_string("a line")
    assert history.get_strings() == ["a line"]
