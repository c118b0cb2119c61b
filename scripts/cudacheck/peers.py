"""transformers on the same shapes, card and rows: eager, and compiled with a static cache."""

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from cudacheck.report import Section
from cudacheck.setup import Setup
from cudacheck.speed import key, known
from cudacheck.targets import RATIO

_PROMPT, _CACHE = 32, 512
_COMPILING = 30
"""Seconds that must be left to begin compiling."""
Step = Callable[[Any, Any], Any]


def run(setup: Setup, section: Section) -> None:
    """The larger shape, which compiles faster, with one row and with 32; the smaller one while time remains."""
    for name, rows in (("1B", (1, 32)), ("135M", (1, 32))):
        with section.attempt(f"transformers {name}"):
            network = _network(setup, name)
            for count in rows:
                with section.attempt(f"eager, {name}, {count} rows"):
                    speed = _speed(setup, network, None, count, setup.pick(12, 2))
                    section.measure(f"eager, {name}, {count} rows", tokens_per_second=speed)
                if section.enough(f"compiled, {name}, {count} rows", setup.pick(_COMPILING, 5)):
                    with section.attempt(f"compiled, {name}, {count} rows"):
                        _compiled(setup, section, name, network, count)
            del network
            if setup.on_card:
                torch.cuda.empty_cache()


def _compiled(setup: Setup, section: Section, name: str, network: Any, rows: int) -> None:
    torch._dynamo.reset()  # noqa: SLF001 (there is no other way to forget what was compiled)
    how = {"backend": "eager"} if setup.rehearse else {"mode": "reduce-overhead"}
    start = time.perf_counter()
    step = torch.compile(network.forward, fullgraph=True, dynamic=False, **how)  # type: ignore[call-overload]
    speed = _speed(setup, network, step, rows, setup.pick(128, 3))
    seconds = time.perf_counter() - start
    section.measure(f"compiled, {name}, {rows} rows", tokens_per_second=speed, seconds_in_all=seconds)
    for deterministic in (True, False):
        label = key(name, rows, deterministic=deterministic)
        if (ours := known(setup).get(label)) is None:
            section.leave_out(f"ratio to compiled: {label}", "ours was not measured")
        elif deterministic:
            section.target(f"ratio to compiled: {label}", ours / speed, least=RATIO)
        else:
            section.measure(f"ratio to compiled: {label}", value=ours / speed)


def _network(setup: Setup, name: str) -> Any:
    """The shape with random weights, in float16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    facts = json.loads((setup.work / f"{name}.network.json").read_text(encoding="utf-8"))
    device = "cuda" if setup.on_card else "cpu"
    dtype = torch.float16 if setup.on_card else torch.float32
    with torch.device(device):
        return LlamaForCausalLM(LlamaConfig(**facts)).to(dtype).eval()


@torch.no_grad()
def _speed(setup: Setup, network: Any, compiled: Step | None, rows: int, steps: int) -> float:
    """Tokens a second of steps whose choices stay on the card, after the prompt and a warm-up."""
    from transformers import DynamicCache, StaticCache

    device = network.device
    cache = (
        DynamicCache(config=network.config)
        if compiled is None
        else StaticCache(config=network.config, max_cache_len=_CACHE)
    )
    ids = torch.randint(3, network.config.vocab_size, (rows, _PROMPT), device=device)
    positions = torch.arange(_PROMPT, device=device)[None].expand(rows, -1)
    logits = network(
        input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits
    token = logits[:, -1:].argmax(-1)
    position = torch.full((rows, 1), _PROMPT, device=device)
    step = compiled or network.forward

    def go(count: int) -> None:
        nonlocal token
        for _ in range(count):
            if compiled is not None:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            output = step(input_ids=token, position_ids=position, past_key_values=cache, use_cache=True)  # type: ignore[call-arg]
            token = output.logits[:, -1:].argmax(-1)
            position.add_(1)
        if setup.on_card:
            torch.cuda.synchronize()

    go(setup.pick(6, 1))
    start = time.perf_counter()
    go(steps)
    return rows * steps / (time.perf_counter() - start)
