"""What a session knows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmbuilder.config import GenerationConfig
from llmbuilder.sessions.conversation import load_conversation
from llmbuilder.sessions.partner import Partner, Turns
from llmbuilder.sessions.terminal import Terminal
from llmbuilder.showing import counted

if TYPE_CHECKING:
    from llmbuilder.filtering import OutputGate


@dataclass
class State:
    """A session: who talks where, and what was said."""

    partner: Partner
    terminal: Terminal
    name: str = ""
    """What stands before each answer on a terminal."""
    gate: "OutputGate | None" = None
    """What each answer must pass before it is shown."""
    conversation: Turns = field(default_factory=list, repr=False)
    unanswered: str | None = None
    """The last message, if nothing came of it that is remembered."""
    config_at_start: GenerationConfig = field(init=False, repr=False)
    system_prompt_at_start: str | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin here."""
        self.begin_here()

    def begin_here(self) -> None:
        """Remember what a reset goes back to."""
        self.config_at_start = self.partner.config
        self.system_prompt_at_start = self.partner.system_prompt

    def load(self, path: Path) -> None:
        """Go on with a saved conversation, and with its system prompt if it has one.

        Raises:
            ConfigError: there is none in the file, or one with a system prompt for a partner who takes none.
        """
        saved = load_conversation(path)
        self.partner.system_prompt = saved.system_prompt or self.partner.system_prompt
        self.go_on_with(saved.conversation)
        self.terminal.note(f"{counted(len(saved.conversation), 'turn')} from {path}.")

    def go_on_with(self, conversation: Turns) -> None:
        """Take this for what was said."""
        self.conversation, self.unanswered = conversation, None
