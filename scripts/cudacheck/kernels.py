"""How many kernels a step is and how long they take, by torch's profiler, which sees those of the whole process."""

from collections import defaultdict
from collections.abc import Mapping
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
                count = sum(len(each) for each in kernels.values()) / _STEPS
                facts = _facts(kernels)
                if name == "135M":
                    section.target(f"kernels a step: {label}", count, most=KERNELS, **facts)
                else:
                    section.measure(f"kernels a step: {label}", value=count, **facts)


def _facts(kernels: Mapping[str, list[float]]) -> dict[str, Any]:
    """The time of all in a step, and number and time of those that take most."""
    most = sorted(kernels.items(), key=lambda pair: -sum(pair[1]))[:14]
    return {
        "microseconds": sum(map(sum, kernels.values())) / _STEPS,
        "kernels": {
            name[:60]: {"count": len(each) / _STEPS, "microseconds": sum(each) / _STEPS}
            for name, each in most
        },
    }


def _kernels(setup: Setup, name: str, *, deterministic: bool) -> dict[str, list[float]]:
    """Microseconds of every kernel of some steps, by name."""
    from torch.profiler import ProfilerActivity, profile

    engine = setup.engine(name, deterministic=deterministic)
    decoder: Any = engine.model.decoder(rows=1, capacity=512)
    decoder.prefill(0, random_ids(engine, 32, 0))
    for _ in range(3):
        decoder.step([5])
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(_STEPS):
            decoder.step([5])
    found: dict[str, list[float]] = defaultdict(list)
    for event in seen.events() or ():
        if not event.name.startswith(("Memcpy", "Memset", "cuda", "Activity")):
            found[event.name].append(event.device_time_total)
    return found
