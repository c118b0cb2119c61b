"""How many kernels a step is, seen by torch's profiler, which sees those of the whole process."""

from collections import Counter
from typing import Any

from cudacheck.report import Section
from cudacheck.setup import Setup, random_ids
from cudacheck.targets import KERNELS

_STEPS = 4


def run(setup: Setup, section: Section) -> None:
    """Both shapes at one row, in both modes."""
    if not setup.on_card:
        section.leave_out("kernels a step", "there is no card")
        return
    for name, deterministic in (("135M", True), ("135M", False), ("1B", True)):
        label = f"{name}, {'deterministic' if deterministic else 'not deterministic'}"
        if section.enough(label, 6):
            with section.attempt(label):
                kernels = _kernels(setup, name, deterministic=deterministic)
                if not kernels:
                    section.leave_out(label, "the profiler saw no kernels")
                    continue
                count = kernels.total() / _STEPS
                often = {kernel[:60]: n / _STEPS for kernel, n in kernels.most_common(12)}
                if name == "135M":
                    section.target(f"kernels a step: {label}", count, most=KERNELS, kernels=often)
                else:
                    section.measure(f"kernels a step: {label}", value=count, kernels=often)


def _kernels(setup: Setup, name: str, *, deterministic: bool) -> "Counter[str]":
    from torch.profiler import ProfilerActivity, profile

    engine = setup.engine(name, deterministic=deterministic)
    decoder: Any = engine.model.decoder(rows=1, capacity=512)
    decoder.prefill(0, random_ids(engine, 32, 0))
    for _ in range(3):
        decoder.step([5])
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(_STEPS):
            decoder.step([5])
    names = [event.name for event in seen.events() or ()]
    return Counter(event for event in names if not event.startswith(("Memcpy", "Memset", "cuda")))
