"""Conversations in files."""

import json

import pytest

from llmbuilder.chat.conversation import Saved, load_conversation, save_conversation
from llmbuilder.errors import ConfigError

TURNS = [{"user": "Hi 🦊\n", "assistant": "Hello."}, {"user": "", "assistant": ""}]


@pytest.mark.parametrize("system", [None, "Be kind."])
def test_what_was_saved_is_loaded(tmp_path, system):
    saved = Saved(TURNS, system)
    save_conversation(tmp_path / "c.json", saved)
    assert load_conversation(tmp_path / "c.json") == saved
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_plain_list_of_turns_is_a_conversation(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(TURNS))
    assert load_conversation(tmp_path / "c.json") == Saved(TURNS)


def test_saving_replaces_a_file_only_when_it_is_whole(tmp_path):
    save_conversation(tmp_path / "c.json", Saved(TURNS))
    with pytest.raises(TypeError):
        save_conversation(tmp_path / "c.json", Saved([{"user": object(), "assistant": ""}]))
    assert load_conversation(tmp_path / "c.json") == Saved(TURNS)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a conversation"),
        ("3", "holds no conversation"),
        ('{"conversation": 3}', "holds no conversation"),
        ('[{"user": "a"}]', "Turn 1"),
        ('{"conversation": [], "system_prompt": 3}', "system_prompt must be text"),
    ],
)
def test_anything_else_is_refused_and_named(tmp_path, content, message):
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_conversation(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json cannot be read"):
        load_conversation(tmp_path / "gone.json")
