"""The documented functions: one call from a path and a prompt to text."""

from collections.abc import Iterator, Sequence
from typing import Unpack

from llmbuilder.checks import StrPath, check_call
from llmbuilder.config import GenerationConfig
from llmbuilder.engine.session import Device
from llmbuilder.generator import TextGenerator
from llmbuilder.overrides import GenerationOptions


def generate_text(
    model_path: StrPath,
    tokenizer_path: StrPath | None = None,
    prompt: str = "",
    *,
    config: GenerationConfig | None = None,
    device: Device = "auto",
    threads: int | None = None,
    **overrides: Unpack[GenerationOptions],
) -> str:
    """Continue a prompt and return the continuation only.

    The model stays loaded for the next call. See `TextGenerator` for the arguments and errors and `GenerationConfig`
    for the options that ``overrides`` may name.
    """
    check_call("prompt", prompt, tokenizer_path, overrides)
    with TextGenerator(model_path, tokenizer_path, device=device, threads=threads) as generator:
        return generator.generate(prompt, config, **overrides)


def batch_generate(
    model_path: StrPath,
    tokenizer_path: StrPath | None = None,
    prompts: Sequence[str] = (),
    *,
    config: GenerationConfig | None = None,
    device: Device = "auto",
    threads: int | None = None,
    **overrides: Unpack[GenerationOptions],
) -> list[str]:
    """Continue several prompts, ``batch_size`` (8) at a time; each text equals generating that prompt alone."""
    check_call("prompts", prompts, tokenizer_path, overrides)
    with TextGenerator(model_path, tokenizer_path, device=device, threads=threads) as generator:
        return generator.generate_batch(prompts, config, **overrides)


def stream_generate(
    model_path: StrPath,
    tokenizer_path: StrPath | None = None,
    prompt: str = "",
    *,
    config: GenerationConfig | None = None,
    device: Device = "auto",
    threads: int | None = None,
    **overrides: Unpack[GenerationOptions],
) -> Iterator[str]:
    """Continue a prompt, yielding text as soon as it is certain; joined it equals `generate_text` with the same seed.

    Mistakes in the arguments raise here, not at the first ``next``.
    """
    check_call("prompt", prompt, tokenizer_path, overrides)
    # The iterator keeps the model alive by itself, even if it is never begun or ended.
    with TextGenerator(model_path, tokenizer_path, device=device, threads=threads) as generator:
        return generator.stream(prompt, config, **overrides)
