"""How many threads may compute a model so that no row depends on its neighbours."""

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.engine.limits import available_threads


def usable_threads(facts: ModelFacts, threads: int | None = None) -> int:
    """The threads that a model computes with on CPUs: no more than a row has heads.

    With more threads than rows and heads give tasks, attention splits a row's keys among them and adds the parts in
    another order, so that a row alone would differ from the same row in a batch (ONNX Runtime 1.32, contexts of more
    than one block of keys, with caches of any type).

    Args:
        facts: the model's.
        threads: what was asked for; None: as many as this process may use.
    """
    return min(threads or available_threads(), facts.fewest_heads)
