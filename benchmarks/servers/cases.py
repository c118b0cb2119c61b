"""Requests of many kinds, each with what it means to the library: what its prompt gives alone."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from llmbuilder.inference import ChatInterface, ConstrainedGenerator, TextGenerator

LONG = 2000
"""Tokens of a long prompt."""
_PROSE = Path(__file__).parents[1] / "data" / "moby-dick-1.txt"
_STARTS = (
    "Once upon a time",
    "The fox",
    "One morning, the little bird",
    "In the forest, between the hills, ",
)
_ANIMALS = ("fox", "bear", "owl", "hare", "frog", "mole")
_SYSTEM = "Be brief."
_MARGIN = 100  # of a window, for new tokens

TEXTS, CHATS = "/v1/completions", "/v1/chat/completions"


class Case(NamedTuple):
    """A request, and how to find out what it gives alone."""

    kind: str
    path: str
    sent: Mapping[str, Any]
    alone: Callable[[TextGenerator], Sequence[str]]
    streams: bool = True
    """Whether its text may come token by token."""


def make_cases(generator: TextGenerator, count: int) -> list[Case]:
    """So many, the same each time, of all kinds."""
    makers: list[Callable[[Random], Case]] = []
    for maker, share in _SHARES.items():
        makers += [functools.partial(maker, generator=generator)] * share
    Random(0).shuffle(makers)
    return [makers[number % len(makers)](Random(number)) for number in range(count)]


def texts_of(path: str, answer: Any) -> list[str]:
    """The texts of a whole answer."""
    return [_text(path, choice) for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]


def _text(path: str, choice: Any) -> str:
    # The library's chat gives replies without the white space around them.
    return str(choice["message"]["content"]).strip() if path == CHATS else str(choice["text"])


def _prompt(random: Random) -> str:
    return f"{random.choice(_STARTS)} {random.randrange(1000)} " + "and then " * random.randrange(12)


def _completed(kind: str, prompt: str | list[int], sent: Mapping[str, Any], meant: Mapping[str, Any]) -> Case:
    options: dict[str, Any] = {"context_overflow": "stop", **meant}
    return Case(
        kind,
        TEXTS,
        {"prompt": prompt, **sent},
        lambda generator: [each.text for each in generator.complete(prompt, **options)],
        streams="num_beams" not in meant and "num_return_sequences" not in meant,
    )


def _greedy(random: Random, generator: TextGenerator) -> Case:  # noqa: ARG001 (as all)
    tokens = random.randrange(8, 60)
    return _completed(
        "greedy",
        _prompt(random),
        {"temperature": 0, "max_tokens": tokens},
        {"do_sample": False, "max_new_tokens": tokens},
    )


def _seeded(random: Random, generator: TextGenerator) -> Case:  # noqa: ARG001
    options = {"seed": random.randrange(1000), "temperature": random.choice((0.3, 0.8, 1.5))}
    tokens = random.randrange(8, 60)
    return _completed(
        "seeded", _prompt(random), options | {"max_tokens": tokens}, options | {"max_new_tokens": tokens}
    )


def _several(random: Random, generator: TextGenerator) -> Case:  # noqa: ARG001
    seed, tokens = random.randrange(1000), random.randrange(4, 30)
    return _completed(
        "several",
        _prompt(random),
        {"seed": seed, "n": 2, "max_tokens": tokens},
        {"seed": seed, "num_return_sequences": 2, "max_new_tokens": tokens},
    )


def _beams(random: Random, generator: TextGenerator) -> Case:  # noqa: ARG001
    tokens = random.randrange(4, 30)
    return _completed(
        "beams",
        _prompt(random),
        {"temperature": 0, "num_beams": 3, "max_tokens": tokens},
        {"do_sample": False, "num_beams": 3, "max_new_tokens": tokens},
    )


def _long(random: Random, generator: TextGenerator) -> Case:
    """A long prompt; of one that does not fit the window its end counts."""
    ids = _prose(generator)
    start = random.randrange(len(ids))
    fits = generator.engine.context_length >= LONG + _MARGIN
    options = {"seed": random.randrange(1000)} | ({} if fits else {"truncate_prompt": True})
    meant = options if fits else options | {"context_overflow": "slide"}
    sent = options if fits else meant
    return _completed(
        "long",
        (ids * (2 + LONG // len(ids)))[start : start + LONG],
        sent | {"max_tokens": 20},
        meant | {"max_new_tokens": 20},
    )


@functools.cache
def _prose(generator: TextGenerator) -> list[int]:
    return generator.tokenizer.encode(_PROSE.read_text(encoding="utf-8"), parse_special=False)


def _json(random: Random, generator: TextGenerator) -> Case:
    prompt, seed, schema = _prompt(random), random.randrange(1000), _schema(random, generator)
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}}

    def alone(generator: TextGenerator) -> list[str]:
        constrained = ConstrainedGenerator(generator, json_schema=schema, max_length=60)
        return [constrained.generate(prompt, seed=seed)]

    sent = {"prompt": prompt, "seed": seed, "max_tokens": 60, "response_format": wanted}
    return Case("json", TEXTS, sent, alone)


def _schema(random: Random, generator: TextGenerator) -> dict[str, Any]:
    """An object, or where the model has no braces, as the demo model, a string."""
    if b"{" not in generator.tokenizer.pieces():
        return {"type": "string", "minLength": 10, "maxLength": random.randrange(20, 50)}
    animals = {"enum": random.sample(_ANIMALS, 3)}
    return {
        "type": "object",
        "properties": {"who": animals, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["who", "age"],
        "additionalProperties": False,
    }


@functools.cache
def _chatting(generator: TextGenerator) -> ChatInterface:
    return ChatInterface(generator, system_prompt=_SYSTEM)


def _chat(random: Random, generator: TextGenerator) -> Case:  # noqa: ARG001
    prompt, seed, tokens = _prompt(random), random.randrange(1000), random.randrange(8, 40)
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}]

    def alone(generator: TextGenerator) -> list[str]:
        return [_chatting(generator).respond(prompt, [], seed=seed, max_new_tokens=tokens)]

    return Case("chat", CHATS, {"messages": messages, "seed": seed, "max_tokens": tokens}, alone)


_SHARES = {_greedy: 18, _seeded: 36, _several: 6, _beams: 8, _json: 14, _chat: 14, _long: 4}
"""Of a hundred."""

BAD: Sequence[tuple[str, Any, int]] = (
    (TEXTS, {"prompt": "x", "temperature": -1}, 400),
    (TEXTS, {"prompt": "x", "temprature": 1}, 400),
    (TEXTS, {"prompt": 5}, 422),
    (TEXTS, b'{"prompt": ', 400),
    (TEXTS, {"model": "nobody", "prompt": "x"}, 404),
    (TEXTS, {"prompt": "x" * 1_000_000}, 400),
    (TEXTS, b" " * (9 << 20), 413),
    (TEXTS, {"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "?"}}}}, 400),
    (CHATS, {"messages": [{"role": "nobody", "content": "x"}]}, 400),
    ("/v1/nothing", {}, 404),
)  # fmt: skip
"""Requests that are wrong: address, body, and the status that says so."""
