"""Conversations in files."""

import json

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.sessions.conversation import Saved, load_conversation, save_conversation

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


def test_what_is_no_conversation_is_not_replaced(tmp_path):
    (tmp_path / "note.txt").write_text("precious")
    (tmp_path / "folder").mkdir()
    for name in ("note.txt", "folder", "folder/.."):
        with pytest.raises(ConfigError, match="is there already and no conversation"):
            save_conversation(tmp_path / name, Saved(TURNS))
    assert (tmp_path / "note.txt").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"note.txt", "folder"}
    save_conversation(tmp_path / "c.json", Saved([]))
    save_conversation(tmp_path / "c.json", Saved(TURNS))
    assert load_conversation(tmp_path / "c.json") == Saved(TURNS)


@pytest.mark.parametrize(
    ("name", "shown"), [("a\0b", "a\\x00b"), ("x" * 999, "xxx"), ("nowhere/c.json",) * 2]
)
def test_a_file_that_cannot_be_written_is_named(tmp_path, name, shown):
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        save_conversation(tmp_path / name, Saved(TURNS))
    assert str(tmp_path / shown) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a conversation"),
        ("3", "holds no conversation"),
        ('{"conversation": 3}', "holds no conversation"),
        ('[{"user": "a"}]', "Turn 1"),
        ('{"conversation": [], "system_prompt": 3}', "system_prompt must be a text"),
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
