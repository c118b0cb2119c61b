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
    return min(threads or available_threads(), _fewest_heads(facts))


def _fewest_heads(facts: ModelFacts) -> int:
    """Query heads of a layer; where layers differ, the keys' heads of the smallest, which has at least as many."""
    shared = {layer.heads for layer in facts.layers}
    return facts.num_attention_heads if len(shared) == 1 else min(shared)
