"""Out of memory: what is raised, and that everything works afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cudacheck.report import Section
from cudacheck.setup import Setup, random_ids
from llmbuilder.engine.loading import Engine
from llmbuilder.errors import DeviceError
from llmbuilder.generator import TextGenerator

MIB = 1 << 20


def run(setup: Setup, section: Section) -> None:
    """Too large a cache, then a card that others have filled: while loading, growing, computing a prompt."""
    engine = setup.engine("135M", cache_bytes=1 << 50)
    generator = TextGenerator(engine)
    prompt = random_ids(engine, 40, 1)
    before = _tokens(generator, prompt)
    with section.attempt("too many rows"):
        _refused(section, "too many rows", lambda: _too_many_rows(setup, engine))
        section.check("after too many rows, the same tokens", _tokens(generator, prompt) == before)
    if not setup.on_card:
        section.leave_out("a full card", "there is no card")
        return
    roomy = engine.model.decoder(rows=1, capacity=engine.context_length)
    for name, held, work in (
        ("loading on a full card", 48 * MIB, lambda: setup.engine("135M")),
        ("growing on a full card", 48 * MIB, lambda: _grow(engine)),
        ("a long prompt on a full card", 16 * MIB, lambda: _long_prompt(engine, roomy)),
    ):
        with section.attempt(name):
            with filled(held):
                _refused(section, name, work)
                with suppress(DeviceError):
                    section.measure(f"{name}: still steps", equal=_tokens(generator, prompt) == before)
            section.check(f"after {name}, the same tokens", _tokens(generator, prompt) == before)
    with section.attempt("loading afterwards"):
        again = TextGenerator(setup.engine("135M"))
        section.check("loading afterwards", _tokens(again, prompt) == before)


def _refused(section: Section, name: str, work: Callable[[], object]) -> None:
    """Check that ``work`` raises a `DeviceError` which says what to do."""
    try:
        work()
    except DeviceError as error:
        text = str(error)
        advises = any(
            word in text for word in ("Lower", "lower", "Shorten", "shorter", "max_context", "Free", "free")
        )
        section.check(name, advises, message=text)
    else:
        section.check(name, False, message="nothing was raised")


def _tokens(generator: TextGenerator, prompt: list[int]) -> tuple[int, ...]:
    (completion,) = generator.complete(prompt, do_sample=False, max_new_tokens=12, early_stopping=False)
    return completion.token_ids


def _too_many_rows(setup: Setup, engine: Engine) -> object:
    """A cache half as large again as the card; in a rehearsal, as no machine has."""
    window = engine.context_length
    token = sum(2 * layer.heads * (layer.key_size + layer.value_size) for layer in engine.model.facts.layers)
    room = free_bytes() * 3 // 2 if setup.on_card else 1 << 46
    decoder = engine.model.decoder(rows=room // (token * window), capacity=window)
    return decoder.prefill(0, [5])


def _grow(engine: Engine) -> object:
    """Rows that need another, larger cache."""
    decoder = engine.model.decoder(rows=8, capacity=64)
    for row in (0, 1000):
        decoder.prefill(row, random_ids(engine, 40, row))
    return decoder


def _long_prompt(engine: Engine, decoder: Any) -> object:
    """A prompt for which there is room, with more logits than there is room for."""
    return decoder.prefill(0, random_ids(engine, 2000, 3), keep=2000)


def free_bytes() -> int:
    """Of the card."""
    import torch

    free: int = torch.cuda.mem_get_info()[0]
    return free


@contextmanager
def filled(left: int) -> Iterator[None]:
    """Hold all of the card's memory but ``left`` bytes, with plain allocations."""
    import torch

    held: list[Any] = []
    try:
        while (free := free_bytes()) > left + 2 * MIB:
            size = min(8 << 30, free - left)
            try:
                held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            except torch.OutOfMemoryError:
                break
        yield
    finally:
        held.clear()
        torch.cuda.empty_cache()
