"""Styles of writing: how a model is asked, and with which options it answers."""

from dataclasses import dataclass, field

from llmbuilder.checks import check_text, nearest, shown
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """A way of writing. A chat model is told the ``voice``; a base model continues one of the openings."""

    name: str
    voice: str
    """System prompt for models with a chat template."""
    character: str
    """Opening that a base model continues to describe a character; ``{description}`` stands for it."""
    dialogue: str
    """Opening before the first line of a dialogue; ``{scene}`` stands for where it takes place."""
    config: GenerationConfig = field(default_factory=GenerationConfig)
    """Options, unless the writer is given its own."""

    def __post_init__(self) -> None:
        """Refuse what is no text, and openings that leave out what is asked for."""
        for name in ("name", "voice", "character", "dialogue"):
            check_text(f"A style's {name}", getattr(self, name))
        for opening, place in ((self.character, "{description}"), (self.dialogue, "{scene}")):
            if place not in opening:
                raise ConfigError(f"Style {self.name!r}: {opening!r} must have {place} where that belongs.")


_STYLES: dict[str, Style] = {}


def register_style(style: Style) -> Style:
    """Make a style known by its name, in place of one of the same name; return it."""
    _STYLES[style.name] = style
    return style


def style_names() -> list[str]:
    """Names of all styles, in order of registration."""
    return list(_STYLES)


def find_style(name: str) -> Style:
    """The style of a name.

    Raises:
        ConfigError: there is none; the message names the nearest, or all.
    """
    given: object = name
    text = given if isinstance(given, str) else ""
    if text in _STYLES:
        return _STYLES[text]
    advice = nearest(text, _STYLES) or f"Known ones: {', '.join(_STYLES)}."
    raise ConfigError(f"Unknown style {shown(name)}. {advice} register_style() adds your own.")


register_style(
    Style(
        name="creative",
        voice="You are an inventive writer of fiction. You surprise, with vivid images and fresh words.",
        character="This is the story of {description}.",
        dialogue="This is a conversation: {scene}.",
        config=GenerationConfig(
            temperature=0.9, top_k=100, top_p=0.95, repetition_penalty=1.05, max_new_tokens=250
        ),
    )
)
register_style(
    Style(
        name="technical",
        voice="You are a technical writer. You are precise, concrete and brief, and use the field's own terms.",
        character="Profile of {description}. Background, skills and methods:",
        dialogue="Transcript of a technical discussion: {scene}.",
        config=GenerationConfig(
            temperature=0.5, top_k=40, top_p=0.9, repetition_penalty=1.05, max_new_tokens=250
        ),
    )
)
register_style(
    Style(
        name="conversational",
        voice="You write as people talk: relaxed, friendly, in short sentences and everyday words.",
        character="Let me tell you about {description}.",
        dialogue="Here is how the talk went: {scene}.",
        config=GenerationConfig(temperature=0.8, top_k=60, top_p=0.92, max_new_tokens=200),
    )
)
register_style(
    Style(
        name="story",
        voice="You are a storyteller for all ages. Your stories are simple, warm and have a proper end.",
        character="Once upon a time there was {description}.",
        dialogue="Once upon a time there were {scene}.",
        config=GenerationConfig(temperature=0.8, top_k=50, top_p=0.95, max_new_tokens=250),
    )
)
register_style(
    Style(
        name="formal",
        voice="You write formal English: complete sentences, measured words, no contractions and no slang.",
        character="The following is a portrait of {description}.",
        dialogue="The following conversation took place: {scene}.",
        config=GenerationConfig(
            temperature=0.6, top_k=40, top_p=0.9, repetition_penalty=1.05, max_new_tokens=250
        ),
    )
)
register_style(
    Style(
        name="poetic",
        voice="You are a poet who writes prose. Your sentences have rhythm, images and sound.",
        character="Of {description}, the old song says:",
        dialogue="As in a song they spoke: {scene}.",
        config=GenerationConfig(
            temperature=0.95, top_k=80, top_p=0.9, repetition_penalty=1.1, max_new_tokens=250
        ),
    )
)
