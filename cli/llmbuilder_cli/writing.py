"""Texts in a style: what `CreativeWriter` writes, as flags."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import typer

from llmbuilder_cli.flags import Flag

if TYPE_CHECKING:
    from llmbuilder.errors import LLMBuilderError
    from llmbuilder.inference import CreativeWriter, GenerationConfig, GenerationOptions, TextGenerator

WRITING = {
    "style": Flag(
        "--style",
        Literal["creative", "technical", "conversational", "story", "formal", "poetic"],
        "Write in this style. It has sampling options of its own, which flags change.",
        "creative",
    ),
    "write": Flag(
        "--write",
        Literal["story", "character", "dialogue"],
        "What the prompt is: the beginning of a story, whom to describe, or who talks about what.",
        "story",
    ),
    "words": Flag(
        "--words", int, "About how long a story gets, to the end of a sentence.", "300", "N", 1, 100_000
    ),
    "turns": Flag("--turns", int, "Lines of a dialogue.", "6", "N", 1, 1_000),
    "speakers": Flag(
        "--speaker", list[str], "Who talks; repeat for each.", "those whom the prompt lists", "NAME"
    ),
}
_TASK_OF = {"words": "story", "turns": "dialogue", "speakers": "dialogue"}


def check_writing(writing: Mapping[str, Any], options: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raise if flags contradict each other.

    Args:
        writing: the flags of `WRITING`.
        options: those of `GenerationConfig`.
        others: what does not go with a style, by its flag: falsy where it is not given.
    """
    if not writing:
        return
    task = writing.get("write", "story")
    for name, whose in _TASK_OF.items():
        if name in writing and task != whose:
            raise _refused(WRITING[name].words, f"It is for --write {whose}, not for a {task}.")
    for flag, value in others.items():
        if value:
            raise _refused(flag, "It does not go with --style and --write. Leave one of them out.")
    if options.get("num_return_sequences", 1) > 1:
        raise _refused("--set", "One text is written in a style. Leave num_return_sequences out.")
    if _is_story_of_tokens(writing, options):
        raise _refused("--max-tokens", "A story has words. Give --words.")


def open_writer(
    generator: "TextGenerator", writing: Mapping[str, Any], options: Mapping[str, Any]
) -> "CreativeWriter":
    """What writes in the style that is asked for.

    Raises:
        ConfigError: an option that cannot be.
    """
    from llmbuilder.inference import CreativeWriter

    return CreativeWriter(generator, style=writing.get("style", "creative"), **options)


def written(writer: "CreativeWriter", writing: Mapping[str, Any], prompt: str) -> str:
    """The text that is asked for.

    Raises:
        ConfigError: a speaker that cannot be.
    """
    from llmbuilder.errors import ConfigError

    try:
        return _write(writer, writing, prompt)
    except ConfigError as error:
        if not str(error).startswith("speakers"):
            raise
        raise ConfigError(str(error).replace("speakers", "--speaker", 1)) from error


class InStyle:
    """Completes prompts as `generate_file` asks for it, one after the other: a text in a style takes many steps."""

    def __init__(self, generator: "TextGenerator", writing: Mapping[str, Any]) -> None:
        """Write with ``generator``, which closing this closes."""
        from llmbuilder.inference import GenerationConfig

        self._writer = open_writer(generator, writing, {})
        self.engine = generator.engine
        self.config = GenerationConfig.merge(generator.config, self._writer.config)
        self.form = writing

    def complete_each(
        self,
        requests: Iterable[tuple[Any, Any] | None],
        config: "GenerationConfig | None" = None,
        **overrides: "Unpack[GenerationOptions]",
    ) -> "Iterator[tuple[int, str | LLMBuilderError]]":
        """Number and text of each request, or why there is none."""
        from llmbuilder.errors import LLMBuilderError

        writer = self._writer.with_options(config, **overrides)
        for number, (prompt, own) in enumerate(filter(None, requests)):
            try:
                yield number, self._written(writer, prompt, own)
            except LLMBuilderError as error:
                yield number, error

    def close(self) -> None:
        """Give the model back."""
        self._writer.close()

    def _written(self, writer: "CreativeWriter", prompt: str, own: Mapping[str, Any]) -> str:
        from llmbuilder.config import merge_own
        from llmbuilder.errors import ConfigError

        if _is_story_of_tokens(self.form, own):
            raise ConfigError("A story has words, and no max_new_tokens. Leave it out, and give --words.")
        return written(writer.with_options(merge_own(writer.config, own)), self.form, prompt)


def _is_story_of_tokens(writing: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    return writing.get("write", "story") == "story" and "max_new_tokens" in options


def _write(writer: "CreativeWriter", writing: Mapping[str, Any], prompt: str) -> str:
    match writing.get("write", "story"):
        case "character":
            return writer.develop_character(prompt)
        case "dialogue":
            return writer.generate_dialogue(prompt, writing.get("turns", 6), speakers=writing.get("speakers"))
        case _:
            return writer.continue_story(prompt, writing.get("words", 300))


def _refused(flag: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=flag)
