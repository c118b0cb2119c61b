"""Text in, completions out, with one model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self, Unpack

from llmbuilder.checks import StrPath, check_count
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, Options, merge_own, one_answer
from llmbuilder.decoding.completion import Completion
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.loop import Loop
from llmbuilder.decoding.running import Answer, completed, finish_all, finish_each, open_loop, stream
from llmbuilder.decoding.scoring import Score, score
from llmbuilder.decoding.strategies import GroupMaker, PromptLike, check_prompts, own_options, requested
from llmbuilder.engine.loading import Engine
from llmbuilder.engine.session import Device
from llmbuilder.errors import ConfigError
from llmbuilder.generator.source import take
from llmbuilder.overrides import GenerationOptions
from llmbuilder.tokenizer import Tokenizer

DEFAULT_BATCH_SIZE = 8


class TextGenerator(Closing):
    """Generates text with one model. May be used from many threads; also a context manager.

    Options come in layers: keyword overrides, then ``config`` of the call, then ``config`` of the generator, then the
    bundle's own defaults. Pickled it carries its path and options, and is opened anew where it arrives, such as in
    another process; within one process a model is loaded once all the same.
    """

    def __init__(
        self,
        model_path: StrPath | Engine,
        tokenizer_path: StrPath | None = None,
        *,
        device: Device = "auto",
        threads: int | None = None,
        deterministic: bool = True,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> None:
        """Open a bundle, or the bundle made from a checkpoint.

        Args:
            model_path: a bundle directory or an LLMBuilder checkpoint; or an engine, such as that of
                `llmbuilder.testing.fake_engine`, which stays its owner's.
            tokenizer_path: the tokenizer that the bundle must have been exported with; None: do not compare.
            device: ``cpu``, ``cuda``, ``cuda:N`` for the N-th card, or ``auto``: what the bundle was exported for.
            threads: CPU threads; None: as many as this process may use.
            deterministic: on a card, compute so that a text is the same from run to run and whatever its neighbours
                in a batch; False allows faster attention that is not.
            config: options for all calls.
            overrides: options by name, over those of config.

        Raises:
            ModelNotFoundError, BundleError, TokenizerError, DeviceError: see their docstrings.
            ConfigError: options that cannot be used.
        """
        config = GenerationConfig.merge(config, overrides)  # a model is not loaded in vain
        self._source = take(
            model_path, tokenizer_path, device=device, threads=threads, deterministic=deterministic
        )
        self._engine = self._source.engine
        self._config = config
        self._maker = GroupMaker(self._engine, self._engine.tokenizer)
        self._closed = False

    @classmethod
    def from_engine(cls, engine: Engine, config: GenerationConfig | None = None) -> Self:
        """Generate with parts made elsewhere, such as those of `llmbuilder.testing`."""
        return cls(engine, config=config)

    def __repr__(self) -> str:
        """As `named`."""
        return named(self, self)

    def __reduce__(self) -> "tuple[Callable[[], TextGenerator], tuple[()]]":
        """Pickle paths and options: the model is opened again where they arrive.

        Raises:
            ConfigError: closed, or made from an engine.
        """
        self._open()
        if self._source.again is None:
            raise ConfigError(
                "A TextGenerator made from an engine cannot be pickled: it has no path to be opened from elsewhere. "
                "Make it from a path, or in each process."
            )
        return partial(type(self), **self._source.again, config=self._config), ()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    @property
    def engine(self) -> Engine:
        """The model with its tokenizer, which this generator keeps loaded."""
        return self._engine

    @property
    def config(self) -> GenerationConfig:
        """The options of a call that names none: the generator's over the bundle's own."""
        return self._merge()

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return self._engine.tokenizer

    def generate(
        self, prompt: str, config: GenerationConfig | None = None, **overrides: Unpack[GenerationOptions]
    ) -> str:
        """Continue ``prompt`` and return the text.

        Raises:
            ConfigError: options that cannot be used, or several results asked for.
            ContextOverflowError: more tokens than the window holds, where the options do not say what to do then.
        """
        return self.generate_batch([prompt], config, **overrides)[0]

    def stream(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[str]:
        """Continue ``prompt``, yielding text as soon as it is certain. Closing the iterator stops the work.

        Raises:
            ConfigError, ContextOverflowError: as `generate`, at once; beam search, which cannot stream.
        """
        merged = one_answer(self._merge(config, overrides))
        if merged.num_beams > 1:
            raise ConfigError("Beam search knows its text only at the end and cannot stream: use generate().")
        group = self._group(prompt, merged)
        return stream(self._loop([group], 1), group)

    def pieces(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[str]:
        """As `stream`; the text of a beam search, known only at the end, is one piece."""
        _, pieces = self.running(prompt, config, **overrides)
        return pieces

    def running(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> tuple[Callable[[], Completion | None], Iterator[str]]:
        """As `pieces`, behind what gives their completion: None unless they have come to their end."""
        group = self._group(prompt, one_answer(self._merge(config, overrides)))
        return lambda: completed(group), stream(self._loop([group], 1), group)

    def generate_batch(
        self,
        prompts: Sequence[str],
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> list[str]:
        """Continue each prompt; the texts are those of generating each alone.

        Raises:
            ConfigError, ContextOverflowError: as `generate`.
        """
        common = one_answer(self._merge(config, overrides))
        completed = self._complete(prompts, [common] * len(check_prompts(prompts)), common)
        return [completion.text for (completion,) in completed]

    def complete(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> list[Completion]:
        """Continue a prompt ``num_return_sequences`` times and report everything about each continuation.

        Raises:
            ConfigError, ContextOverflowError: as `generate`.
        """
        merged = self._merge(config, overrides)
        return self._complete([prompt], [merged], merged)[0]

    def complete_batch(
        self,
        prompts: Sequence[PromptLike],
        configs: Sequence[Options] | None = None,
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> list[list[Completion]]:
        """Continue several prompts; ``configs`` has the options of each, over all that they have in common.

        ``batch_size`` of the common options bounds the sequences decoded at once.

        Raises:
            ConfigError, ContextOverflowError: as `generate`; not one entry of ``configs`` for each prompt.
        """
        own = own_options(configs, len(check_prompts(prompts)))
        common = self._merge(config, overrides)
        return self._complete(prompts, [merge_own(common, options) for options in own], common)

    def complete_each(
        self,
        requests: Iterable[tuple[PromptLike, Options] | None],
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[tuple[int, Answer]]:
        """Continue any number of prompts, each with its own options, as rows come free.

        Args:
            requests: prompts and the options of each, over all that they have in common; read no faster than needed.
                None says that there is nothing at the moment: those that run go on, and it is asked again.
            config: options of all; its ``batch_size`` bounds the sequences decoded at once.
            overrides: as everywhere.

        Yields:
            The number of a request, from 0, and its completions, in the order in which they are done. A prompt that
            cannot be decoded gives its error and does not disturb the others.

        Raises:
            ConfigError: common options that cannot be used.
        """
        common = self._merge(config, overrides)
        groups = requested(requests, lambda prompt, own: self._group(prompt, merge_own(common, own)))
        return finish_each(self.loop(common.batch_size or DEFAULT_BATCH_SIZE), groups)

    def loop(self, max_rows: int = DEFAULT_BATCH_SIZE) -> Loop:
        """A loop over this model, for groups that come and go (see `group`), ``max_rows`` sequences at once."""
        self._open()
        return self._loop([], check_count("max_rows", max_rows))

    def group(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        *,
        tag: object = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Group:
        """A prompt for a `loop`, with its ``tag``: read its pieces as they come and its completions at the end.

        Raises:
            ConfigError, ContextOverflowError: as `generate`.
        """
        return self._group(prompt, self._merge(config, overrides), tag)

    def score(self, text_or_ids: str | Sequence[int], *, top: int = 0) -> Score:
        """How likely the model finds a text, with the ``top`` likeliest tokens at each place.

        Raises:
            ConfigError: ``top`` is no whole number from 0 to the size of the vocabulary.
            ContextOverflowError: more tokens than the window holds.
        """
        check_count("top", top, 0, self._engine.usable_vocab)
        ids = self._open().encode(text_or_ids)
        return score(self._engine.model.decoder, ids, top, window=self._engine.context_length)

    def close(self) -> None:
        """Give the model back; it is unloaded when nobody uses it and newer ones have taken its place."""
        self._closed = True
        self._source.close()

    def _merge(self, *layers: Options) -> GenerationConfig:
        """Options of a call: its layers over the generator's own and the bundle's."""
        return GenerationConfig.merge(self._engine.defaults, self._config, *layers)

    def _open(self) -> GroupMaker:
        """What makes groups, while this generator may be used."""
        if self._closed:
            raise ConfigError("This TextGenerator is closed. Make a new one.")
        return self._maker

    def _group(self, prompt: PromptLike, config: GenerationConfig, tag: object = None) -> Group:
        maker = self._open()
        return maker.group(maker.prepare(prompt, config), tag)

    def _loop(self, groups: Sequence[Group], max_rows: int | None) -> Loop:
        return open_loop(self._engine.model.decoder, groups, max_rows or DEFAULT_BATCH_SIZE)

    def _complete(
        self, prompts: Sequence[PromptLike], configs: Sequence[GenerationConfig], common: GenerationConfig
    ) -> list[list[Completion]]:
        """Continue each prompt with its own merged options; the first error ends all."""
        groups = [self._group(prompt, config) for prompt, config in zip(prompts, configs, strict=True)]
        return finish_all(self._loop(groups, common.batch_size), groups)


def named(thing: object, generator: TextGenerator, *notes: str) -> str:
    """What ``repr`` says of something that works with a generator: its class, its model, and more."""
    notes = (generator.engine.summary, *notes, *(["closed"] if generator.closed else []))
    return f"<{type(thing).__name__}: {', '.join(notes)}>"
