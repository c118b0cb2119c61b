"""An answer of a session: shown as it comes, remembered, and told about if it did not end well."""

from collections.abc import Iterator

from llmbuilder.errors import LLMBuilderError
from llmbuilder.sessions.state import State
from llmbuilder.showing import counted


def answer(state: State, line: str) -> bool:
    """Show the answer to a line as it comes, and remember both; one that was stopped counts as far as it was shown.

    Returns:
        Whether there is anything to remember: not if it failed, was refused, or was stopped before any was shown.
    """
    pieces: list[str] = []
    dropped = state.partner.dropped_turns
    note = ""
    with state.terminal.answering(state.name) as write:
        try:
            for piece in _shown(state, line):
                pieces.append(piece)
                write(piece)
        except KeyboardInterrupt:
            note = "(stopped)"
        except LLMBuilderError as error:
            pieces, note = [], f"Error: {error}"
    is_answered = bool(pieces) or not note
    state.unanswered = None if is_answered else line
    if is_answered:
        state.conversation.append({"user": line, "assistant": "".join(pieces)})
    if state.partner.dropped_turns > dropped:
        note += f"(The window is full: without the {counted(state.partner.dropped_turns, 'oldest turn')}.)"
    if note:
        state.terminal.note(note)
    return is_answered


def _shown(state: State, line: str) -> Iterator[str]:
    """The answer in the pieces in which it may be shown: a filter needs all of it."""
    pieces = state.partner.stream(line, state.conversation)
    return pieces if state.gate is None else state.gate.whole(pieces, line)
