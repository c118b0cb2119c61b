"""A session: lines are answered as they come, until the input ends or somebody quits."""

from os import PathLike
from typing import TYPE_CHECKING

from llmbuilder.checks import check_path
from llmbuilder.sessions.answering import answer
from llmbuilder.sessions.commands import QUIT, completions, obey
from llmbuilder.sessions.partner import Partner
from llmbuilder.sessions.state import State
from llmbuilder.sessions.terminal import Terminal, open_terminal

if TYPE_CHECKING:
    from llmbuilder.filtering import OutputGate


def run_session(
    partner: Partner,
    *,
    name: str = "",
    conversation: str | PathLike[str] | None = None,
    terminal: Terminal | None = None,
    gate: "OutputGate | None" = None,
) -> State:
    """Let somebody talk with ``partner``.

    Ctrl-C stops an answer, and while nothing is answered forgets the line that is being typed.

    Args:
        partner: who answers.
        name: what stands before each answer on a terminal.
        conversation: file of a conversation to go on with.
        terminal: where somebody types; None: what this process is connected to.
        gate: what each answer must pass: it is shown when it is whole, or refused and forgotten.

    Returns:
        How everything stood at the end.

    Raises:
        ConfigError: a conversation that cannot be read.
    """
    state = State(partner, terminal or open_terminal(completions()), name, gate)
    if conversation is not None:
        state.load(check_path("conversation", conversation))
        state.begin_here()
    if state.terminal.is_interactive:
        where = state.terminal
        where.note(f"/help lists the commands, {where.stops} stops an answer, {where.leaves} leaves.")
    while (line := _read(state.terminal)) is not None and line.lower() not in QUIT:
        if line.startswith("/"):
            obey(state, line)
        elif line:
            answer(state, line)
    return state


def _read(terminal: Terminal) -> str | None:
    try:
        line = terminal.read("You: ")
    except KeyboardInterrupt:
        terminal.note(f"{terminal.leaves} leaves.")
        return ""
    return line if line is None else line.strip()
