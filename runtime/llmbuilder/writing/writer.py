"""`CreativeWriter`: stories, characters and dialogues in a style."""

from collections.abc import Generator, Sequence
from contextlib import closing
from copy import copy
from typing import Any, Self, Unpack

from llmbuilder.checks import StrPath, check_count, check_text, check_texts
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Device, Options, PromptLike, TextGenerator, named, opened
from llmbuilder.overrides import GenerationOptions
from llmbuilder.writing.dialogue import SILENCE, clean_turn, find_speakers
from llmbuilder.writing.lengths import count_words, cut_at_last_sentence, cut_near, is_long_enough
from llmbuilder.writing.prompts import Asker
from llmbuilder.writing.styles import Style, find_style

TOKENS_PER_WORD = 8
"""More than any tokenizer needs for ordinary words: the budget only ends what would never end by itself."""
_TURN_TOKENS = 80
_LEAST_CHARACTER = 8
"""Tokens before which a character may not end, or every eighth would be nobody."""
_TRIES = 3
_SHORT = 0.9
_MOST_WORDS = 100_000
"""The length of a novel."""
_MOST_TURNS = 1_000


class CreativeWriter(Closing):
    """Writes with one model in one style. Also a context manager.

    A model with a chat template is asked in its own form and begins its answer with the text so far; any other model
    continues an opening of the style.
    """

    def __init__(
        self,
        model_path: StrPath | TextGenerator,
        tokenizer_path: StrPath | None = None,
        *,
        style: str | Style = "creative",
        config: GenerationConfig | None = None,
        device: Device = "auto",
        threads: int | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        """Open a model.

        Args:
            model_path: a bundle directory or checkpoint; or a generator that is open already, which closing the writer
                closes.
            tokenizer_path: see `TextGenerator`, as ``device`` and ``threads``.
            style: its name (see `llmbuilder.writing.styles`), or a style of your own.
            config: options; if given the style's own are not used, and it shapes the prompts only.
            device: where the model runs.
            threads: CPU threads.
            overrides: options by name.

        Raises:
            ConfigError: an unknown style or option; several sequences at once.
        """
        self.style = style if isinstance(style, Style) else find_style(style)
        chosen = self.style.config if config is None else config
        self.config = one_answer(GenerationConfig.merge(chosen, overrides))
        with opened(model_path, tokenizer_path, device=device, threads=threads) as generator:
            self._generator = generator
            self._asker = Asker(generator, self.style)

    def __repr__(self) -> str:
        """Which model writes, and in what style."""
        return named(self, self._generator, f"style {self.style.name}")

    def with_options(self, config: Options = None, **overrides: Unpack[GenerationOptions]) -> Self:
        """The same writer with other options, laid over its own. They share the model: closing one closes both.

        Raises:
            ConfigError: an option that cannot be used; several sequences at once.
        """
        other = copy(self)
        other.config = one_answer(GenerationConfig.merge(self.config, config, overrides))
        return other

    def continue_story(self, text: str, length: int = 300) -> str:
        """Continue a story by about ``length`` words, to the end of a sentence.

        The end nearest to ``length`` is chosen; the text goes on to half as much again in search of one. Where the
        model would end earlier it is kept from that (EOS is forbidden up to ``length`` tokens, then the model continues
        what it has written). It stays shorter only if a stop string or ``max_time`` of the options ends it, or if the
        model writes nothing but white space. ``max_new_tokens`` and ``max_length`` of the options do not count here.
        A story longer than the model's window is remembered by its end.
        """
        check_text("text", text)
        length = check_count("length", length, most=_MOST_WORDS)
        request = f"Continue this story with about {length} words."
        written = ""
        for attempt in range(_TRIES * 2):
            missing = length - count_words(written)
            budget = {"max_new_tokens": TOKENS_PER_WORD * missing + 64, "min_new_tokens": missing}
            before = len(written)
            prompt = self._asker.ask("", request, text + written)
            with closing(self._stream(prompt, attempt, **budget)) as pieces:
                for piece in pieces:
                    written += piece
                    if is_long_enough(written, length):
                        return cut_near(written, length)
            ended = (
                self.config.stop_strings or self.config.max_time is not None or not written[before:].strip()
            )
            if ended or count_words(written) >= _SHORT * length:
                break
        return cut_near(written, length)

    def develop_character(self, description: str) -> str:
        """Describe a character, in whole sentences within ``max_new_tokens``.

        EOS is forbidden at first, and a description that comes out empty is tried three times.
        """
        check_text("description", description)
        opening = self.style.character.replace("{description}", _phrase(description))
        request = f"Describe a character for a novel: {_phrase(description)}. Tell of looks, past, habits and wishes."
        prompt = self._asker.ask(opening, request, "")
        least = min(_LEAST_CHARACTER, self.config.max_new_tokens)
        for attempt in range(_TRIES):
            written = "".join(self._stream(prompt, attempt, min_new_tokens=least))
            if character := cut_at_last_sentence(written).strip().lstrip(".,;:!? "):
                return character
        return ""

    def generate_dialogue(self, scene: str, turns: int = 6, *, speakers: Sequence[str] | None = None) -> str:
        """Write a dialogue of exactly ``turns`` lines, each ``Name: what is said``.

        Args:
            scene: who talks where about what.
            turns: number of lines.
            speakers: two or more names, who speak in turns; None: those the scene lists ("Tom and Lily"), or Anna
                and Ben.

        A turn that comes out empty, or repeats one, is tried three times; then its speaker is silent (``…``).
        """
        check_text("scene", scene)
        turns = check_count("turns", turns, most=_MOST_TURNS)
        names = find_speakers(scene) if speakers is None else _check_speakers(speakers)
        lines: list[tuple[str, str]] = []
        for number in range(turns):
            name = names[number % len(names)]
            lines.append((name, self._turn(scene, names, name, lines)))
        return "\n".join(f"{name}: {words}" for name, words in lines)

    def close(self) -> None:
        """Give the model back."""
        self._asker.close()
        self._generator.close()

    def _turn(self, scene: str, names: Sequence[str], name: str, said: Sequence[tuple[str, str]]) -> str:
        """What ``name`` says next."""
        prompt, stops = self._dialogue_prompt(scene, names, name, said)
        budget = min(self.config.max_new_tokens, _TURN_TOKENS)
        earlier = {words for _, words in said}
        for attempt in range(_TRIES):
            pieces = self._stream(
                prompt,
                len(said) + attempt * len(names),
                stop_strings=[*(self.config.stop_strings or ()), *stops],
                max_new_tokens=budget,
                min_new_tokens=min(2, budget),
            )
            words = clean_turn("".join(pieces), names)
            if words and words not in earlier:
                return words
        return SILENCE

    def _dialogue_prompt(
        self, scene: str, names: Sequence[str], name: str, said: Sequence[tuple[str, str]]
    ) -> tuple[PromptLike, list[str]]:
        """A prompt that ends where ``name`` begins to speak, and the strings at which they have spoken.

        A chat model writes a script, one line a turn. For a base model, which has read more novels than plays, what is
        said stands in quotes.
        """
        if self._asker.is_chat:
            begun = "".join(f"{who}: {words}\n" for who, words in said) + f"{name}:"
            request = f"Write a dialogue between {' and '.join(names)}, a line for each turn. Scene: {_phrase(scene)}."
            return self._asker.ask("", request, begun), ["\n", *(f"{who}:" for who in names)]
        opening = self.style.dialogue.replace("{scene}", _phrase(scene))
        begun = "".join(f' {who} said, "{words}"' for who, words in said) + f' {name} said, "'
        return self._asker.ask(opening, "", begun), ['"', "\n"]

    def _stream(self, prompt: PromptLike, number: int, **task: Any) -> Generator[str, None, None]:
        """The model's text as it comes; that of beams, known only at the end, in one piece.

        ``number`` tells the draws of one call apart where a seed fixes them.
        """
        options: dict[str, Any] = {
            "truncate_prompt": True,
            "return_full_text": False,
            "max_length": None,
            **self._asker.endings(self.config),
            **task,
        }
        if self.config.seed is not None:
            options["seed"] = self.config.seed + number
        yield from self._generator.pieces(prompt, self.config, **options)


def _check_speakers(speakers: Sequence[str]) -> tuple[str, ...]:
    names = (speakers,) if isinstance(speakers, str) else check_texts("speakers", speakers)
    good = all(name.strip() and not set(name) & set(':\n"') for name in names)
    if not good or len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"speakers must be two or more different names without ':', got {speakers!r}.")
    return names


def _phrase(text: str) -> str:
    """What a user described, fit to stand within a sentence."""
    return " ".join(text.split()).rstrip(".!?,;: ")
