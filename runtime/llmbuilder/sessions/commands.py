"""What can be done in a session besides talking: lines that begin with ``/``."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from llmbuilder.checks import check_text, nearest
from llmbuilder.config import GenerationConfig, generation_options, greedy_at_zero, one_answer
from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.sessions.answering import answer
from llmbuilder.sessions.conversation import (
    Saved,
    find_conversation,
    new_conversation,
    save_conversation,
)
from llmbuilder.sessions.state import State
from llmbuilder.sessions.terminal import Completions
from llmbuilder.sessions.values import parse_value
from llmbuilder.showing import counted

QUIT = ("quit", "exit", "/quit", "/exit")
"""Lines that end a session."""
_ALWAYS_SHOWN = (
    "max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "seed",
)  # fmt: skip


class Command(NamedTuple):
    """What a command takes, what it is for, and what it does."""

    takes: str
    purpose: str
    act: Callable[[State, str], None]


def obey(state: State, line: str) -> None:
    """Do what a line says; what cannot be done is explained."""
    name, _, rest = line.partition(" ")
    if name not in COMMANDS:
        state.terminal.note(f"There is no {name}. {nearest(name, COMMANDS) or 'Try /help.'}")
        return
    try:
        COMMANDS[name].act(state, rest.strip())
    except (LLMBuilderError, OSError) as error:
        state.terminal.note(f"Error: {error}")


def completions() -> Completions:
    """The commands, and the options that ``/set`` changes."""
    return {name: dict.fromkeys(generation_options()) if name == "/set" else None for name in COMMANDS}


def _help(state: State, _: str) -> None:
    for name, command in COMMANDS.items():
        state.terminal.note(f"{f'{name} {command.takes}':18} {command.purpose}")


def _settings(state: State, _: str) -> None:
    config = state.partner.config
    for name in generation_options():
        if name in _ALWAYS_SHOWN or name in config.given:
            state.terminal.note(f"{name} = {getattr(config, name)!r}")
    if state.partner.system_prompt is not None:
        state.terminal.note(f"system prompt: {state.partner.system_prompt}")
    if state.gate is not None:
        for name, value in state.gate.settings.items():
            state.terminal.note(f"filter: {state.gate.words(f'{name} = {value!r}')}")


def _set(state: State, rest: str) -> None:
    name, _, value = rest.partition(" ")
    if not value:
        raise ConfigError("Say which setting and what it becomes, such as: /set temperature 0.7")
    now = state.partner.config
    new = greedy_at_zero({name: parse_value(value)})
    if "temperature" in new and not now.do_sample and now.num_beams == 1:
        new["do_sample"] = True  # or the new temperature would change nothing
    state.partner.config = one_answer(GenerationConfig.merge(now, new))
    for name in new:
        state.terminal.note(f"{name} = {getattr(state.partner.config, name)!r}")


def _system(state: State, rest: str) -> None:
    state.partner.system_prompt = check_text("The system prompt", rest) or None
    state.terminal.note(f"system prompt: {rest or 'none'}")


def _reset(state: State, _: str) -> None:
    state.partner.config = state.config_at_start
    state.partner.system_prompt = state.system_prompt_at_start
    state.go_on_with([])
    state.terminal.note("Everything is as at the beginning.")


def _clear(state: State, _: str) -> None:
    state.go_on_with([])
    state.terminal.note("The conversation is forgotten.")


def _save(state: State, rest: str) -> None:
    path = _path(rest) if rest else new_conversation(time.strftime("conversation-%Y%m%d-%H%M%S.json"))
    save_conversation(path, Saved(state.conversation, state.partner.system_prompt))
    state.terminal.note(f"{counted(len(state.conversation), 'turn')} saved to {path}.")


def _load(state: State, rest: str) -> None:
    if not rest:
        raise ConfigError("Say which file, such as: /load conversation.json")
    state.load(find_conversation(_path(rest)))


def _retry(state: State, _: str) -> None:
    if state.unanswered is not None:
        answer(state, state.unanswered)
        return
    if not state.conversation:
        raise ConfigError("There is no answer yet to be given again. Ask something.")
    last = state.conversation.pop()
    if not answer(state, last["user"]):
        state.go_on_with([*state.conversation, last])
    elif state.partner.config.seed is not None and state.conversation[-1] == last:
        state.terminal.note("The same, because the seed is. /set seed none draws another.")


def _stats(state: State, _: str) -> None:
    completion = state.partner.last_completion()
    if completion is None:
        raise ConfigError("There is no whole answer yet to tell of. Ask something, and let it end.")
    state.terminal.note(completion.statistics)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: nobody has that home directory. Write the whole path.") from error


def _quit(_: State, __: str) -> None:
    """Nothing to do: the session looks for `QUIT` itself."""


COMMANDS = {
    "/help": Command("", "list the commands", _help),
    "/settings": Command("", "show the settings", _settings),
    "/set": Command("NAME VALUE", "change a setting: any option of GenerationConfig", _set),
    "/system": Command("TEXT", "change the system prompt of a chat", _system),
    "/retry": Command("", "answer the last message again", _retry),
    "/stats": Command("", "tokens and speed of the last answer", _stats),
    "/save": Command("[FILE]", "write the conversation to a JSON file", _save),
    "/load": Command("FILE", "go on with a saved conversation", _load),
    "/clear": Command("", "forget the conversation", _clear),
    "/reset": Command("", "forget the conversation and all changes of settings", _reset),
    "/quit": Command("", "leave", _quit),
}
